"""The pool over real processes: loading, predicting, making room, retiring, closing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psutil
import pytest

from tests.support import models
from tests.support.models import body
from tests.workers.conftest import Files, key
from workers.errors import (
    CapacityExceeded,
    InvalidInput,
    ModelError,
    ModelLoadError,
    ModelNotLoaded,
    PoolClosed,
    PredictionTimeout,
    QueueFull,
    UnsupportedMediaType,
    WorkerCrashed,
)
from workers.pool import loading
from workers.process import launcher
from workers.protocol.messages import Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from workers.pool.pool import Pool
    from workers.process.spawn import Spawn
    from workers.protocol.messages import LoadReport

    Opened = Callable[..., AbstractAsyncContextManager[Pool]]
    Lookup = Callable[[str], Files]

SUMS = Job(body(a=[1.0, 2.0], b=[10.0, 20.0]))
COMMANDS = key("commands")


def command(*words: str) -> Job:
    return Job(body(do=list(words)))


async def answer(pool: Pool, name: str, job: Job) -> object:
    reply = await pool.predict(key(name), job)
    return orjson.loads(reply.body)


async def test_predicts(opened: Opened, files: Lookup) -> None:
    """A loaded model answers, and tells how long it took."""
    async with opened() as pool:
        assert pool.status(key("sums")).state == "cold"
        source = files("sums")
        await pool.load(key("sums"), source())
        assert pool.is_loaded(key("sums"))
        assert pool.status(key("sums")).workers == 1
        reply = await pool.predict(key("sums"), SUMS)
        assert orjson.loads(reply.body) == [11.0, 22.0]
        assert reply.seconds > 0
        assert (source.entered, source.left) == (1, 0)
    assert source.left == 1


async def test_loading_twice_is_loading_once(opened: Opened, files: Lookup) -> None:
    """What is warm is left as it is."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        pid = await answer(pool, "commands", command("x"))
        again = files("commands")
        await pool.load(COMMANDS, again())
        assert again.entered == 0
        assert await answer(pool, "commands", command("x")) == pid


async def test_two_models_with_equal_bodies_never_meet(opened: Opened, files: Lookup) -> None:
    """Nothing is keyed by the payload: each caller gets its own model's answer."""
    async with opened() as pool:
        await asyncio.gather(*(pool.load(key(name), files(name)()) for name in ("sums", "tens")))
        names = ["sums", "tens"] * 100
        answers = await asyncio.gather(*(answer(pool, name, SUMS) for name in names))
        assert answers == [[11.0, 22.0], [110.0, 220.0]] * 100


async def test_a_name_made_anew_is_another_model(
    opened: Opened, files: Lookup, folders: dict[str, Path]
) -> None:
    """The fingerprint is part of the key: the recreated version 1 is not the old one."""
    anew = Files(key("sums", "new"), folders["tens"])
    async with opened() as pool:
        await pool.load(key("sums"), files("sums")())
        await pool.load(anew.key, anew())
        assert await answer(pool, "sums", SUMS) == [11.0, 22.0]
        reply = await pool.predict(anew.key, SUMS)
        assert orjson.loads(reply.body) == [110.0, 220.0]


async def test_every_worker_is_warm(opened: Opened, files: Lookup) -> None:
    """With two workers both have the model, and both work at the same time."""
    async with opened(workers_per_model=2) as pool:
        await pool.load(COMMANDS, files("commands")())
        assert pool.status(COMMANDS).workers == 2
        slow = [answer(pool, "commands", command("sleep 0.5", "x")) for _ in range(2)]
        pids = await asyncio.gather(*slow)
        assert pids[0] != pids[1]


async def test_failures_are_the_right_ones(opened: Opened, files: Lookup) -> None:
    """A refused body, a type that is not known, and a model that raises are three things."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        with pytest.raises(InvalidInput) as refused:
            await pool.predict(COMMANDS, Job(body(do=[1])))
        assert refused.value.details[0].column == "do"
        with pytest.raises(UnsupportedMediaType):
            await pool.predict(COMMANDS, Job(b"", "text/plain"))
        with pytest.raises(ModelError) as failed:
            await pool.predict(COMMANDS, command("raise trouble"))
        assert failed.value.exception == "ValueError"
        assert "/secret" not in str(failed.value)
        assert "/secret" in failed.value.text
        assert "Traceback" in failed.value.log


async def test_a_model_that_exits_does_not_end_its_worker(opened: Opened, files: Lookup) -> None:
    """SystemExit from a model's code is that model's failure, and the process goes on."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        pid = await answer(pool, "commands", command("x"))
        with pytest.raises(ModelError):
            await pool.predict(COMMANDS, command("exit"))
        assert await answer(pool, "commands", command("x")) == pid


async def test_one_bad_body_fails_alone(opened: Opened, files: Lookup) -> None:
    """Bodies that travel together are predicted apart: only the bad one fails."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        jobs = [command("raise x") if number % 10 == 3 else command("x") for number in range(50)]
        replies = await asyncio.gather(*(pool.predict(COMMANDS, job) for job in jobs), return_exceptions=True)
        failed = [number for number, reply in enumerate(replies) if isinstance(reply, ModelError)]
        assert failed == [3, 13, 23, 33, 43]
        assert sum(isinstance(reply, BaseException) for reply in replies) == len(failed)


async def test_callers_that_go_away_leave_the_others_answered(opened: Opened, files: Lookup) -> None:
    """Cancelled while queued, and while running: everybody else gets an answer."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        calls = [asyncio.create_task(answer(pool, "commands", command("sleep 0.3", "x")))]
        calls += [asyncio.create_task(answer(pool, "commands", command("x"))) for _ in range(5)]
        await asyncio.sleep(0.1)
        for gone in (calls[0], calls[2]):
            gone.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        cancelled = [number for number, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
        assert cancelled == [0, 2]
        assert await answer(pool, "commands", command("x"))


async def test_a_job_whose_worker_dies_is_run_again(opened: Opened, files: Lookup, tmp_path: Path) -> None:
    """A death is not the caller's fault: the job is retried, and so are those beside it."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        first = await answer(pool, "commands", command("x"))
        jobs = [command("x") for _ in range(20)]
        jobs.insert(10, command(f"die_once {tmp_path / 'died'}"))
        pids = await asyncio.gather(*(answer(pool, "commands", job) for job in jobs))
        assert len(pids) == 21
        assert (tmp_path / "died").exists()
        assert await answer(pool, "commands", command("x")) != first


async def test_only_the_poisonous_body_fails(opened: Opened, files: Lookup) -> None:
    """A body that kills its worker twice gets an error; its neighbours are answered."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        jobs = [command("x") for _ in range(40)]
        jobs.insert(20, command("die"))
        replies = await asyncio.gather(*(pool.predict(COMMANDS, job) for job in jobs), return_exceptions=True)
        failed = [number for number, reply in enumerate(replies) if isinstance(reply, BaseException)]
        assert failed == [20]
        assert isinstance(replies[20], WorkerCrashed)


async def test_a_hung_model_is_ended_and_the_others_are_served(opened: Opened, files: Lookup) -> None:
    """The hung caller is told in time; whoever waits behind it is answered by the next process."""
    async with opened(request_seconds=1.5) as pool:
        await pool.load(COMMANDS, files("commands")())
        first = await answer(pool, "commands", command("x"))
        hung = asyncio.create_task(answer(pool, "commands", command("sleep 60")))
        await asyncio.sleep(0.5)
        behind = asyncio.create_task(answer(pool, "commands", command("x")))
        with pytest.raises(PredictionTimeout):
            await hung
        assert await behind != first


async def test_an_idle_worker_that_dies_is_replaced(opened: Opened, files: Lookup) -> None:
    """Death between two requests is noticed; the next one finds a living process."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        pids = await answer(pool, "commands", command("x"))
        assert isinstance(pids, list)
        os.kill(pids[0], 9)
        assert await answer(pool, "commands", command("x")) != pids


async def test_deaths_are_noticed_without_process_descriptors(
    opened: Opened, files: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system has none (macOS) the end of the worker's pipe tells."""
    monkeypatch.delattr(os, "pidfd_open")
    async with opened(request_seconds=2.0) as pool:
        await pool.load(COMMANDS, files("commands")())
        pids = await answer(pool, "commands", command("x"))
        assert isinstance(pids, list)
        os.kill(pids[0], 9)
        assert await answer(pool, "commands", command("x")) != pids
        with pytest.raises(PredictionTimeout):
            await answer(pool, "commands", command("sleep 60"))
        assert await answer(pool, "commands", command("x"))


async def test_a_model_cannot_reach_the_executors_results(
    opened: Opened, files: Lookup, tmp_path: Path
) -> None:
    """The gateway unpickles what comes that way: it is closed before any code of the model runs."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        with pytest.raises(ModelError):
            await answer(pool, "commands", command(f"results {tmp_path / 'pwned'}"))
        assert await answer(pool, "commands", command("x"))
    assert not (tmp_path / "pwned").exists()


async def test_what_a_model_writes_to_the_lifeline_is_not_read(
    opened: Opened, files: Lookup, tmp_path: Path
) -> None:
    """Nothing that a model's code puts into the pipe of its worker's pid is unpickled in the parent."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        assert await answer(pool, "commands", command(f"lifeline {tmp_path / 'pwned'}"))
        await asyncio.sleep(0.3)
        assert await answer(pool, "commands", command("x"))
    assert not (tmp_path / "pwned").exists()


async def test_a_worker_that_dies_as_it_reports_is_no_worker(
    opened: Opened, files: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Death between the report and the first job: another process takes its place."""
    load = launcher._wait_loaded
    deaths = iter([True, False])

    async def dying(spawn: Spawn, *args: Any, seconds: float) -> LoadReport:
        loaded = await load(spawn, *args, seconds=seconds)
        if next(deaths):
            await spawn.worker.kill()
        return loaded

    monkeypatch.setattr(launcher, "_wait_loaded", dying)
    async with opened(request_seconds=5.0) as pool:
        await pool.load(COMMANDS, files("commands")())
        assert await answer(pool, "commands", command("x"))


async def test_no_job_is_lost_when_a_dead_workers_model_is_evicted(
    opened: Opened, files: Lookup, tmp_path: Path
) -> None:
    """A model whose worker has just died is busy with what that worker held."""
    async with opened(max_loaded_models=1) as pool:
        await pool.load(COMMANDS, files("commands")())
        jobs = [command(f"die_once {tmp_path / 'died'}"), *(command("x") for _ in range(5))]
        asked = [asyncio.create_task(answer(pool, "commands", job)) for job in jobs]
        await asyncio.sleep(0)
        await pool.load(key("sums"), files("sums")())
        assert len(await asyncio.gather(*asked)) == 6


async def test_the_templates_death_is_not_the_models_fault(opened: Opened, files: Lookup) -> None:
    """Workers die with their template; what they held is answered by those of the next one."""
    async with opened(workers_per_model=2) as pool:
        await pool.load(COMMANDS, files("commands")())
        pids = await answer(pool, "commands", command("x"))
        assert isinstance(pids, list)
        asked = [asyncio.create_task(answer(pool, "commands", command("sleep 0.05", "x"))) for _ in range(20)]
        await asyncio.sleep(0.1)
        template = psutil.Process(pids[0]).parent()
        assert template is not None
        template.kill()
        await pool.load(key("sums"), files("sums")())
        assert len(await asyncio.gather(*asked)) == 20


@pytest.mark.timeout(240)
async def test_a_template_that_hangs_is_ended(
    opened: Opened, files: Lookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start does not wait for it for ever, and the next one has another template."""
    async with opened(fork_timeout_seconds=15.0) as pool:
        await pool.load(COMMANDS, files("commands")())
        hung = pool._forkserver.pid
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        try:
            await pool.load(key("sums"), files("sums")())
        except ModelLoadError:  # a machine so slow that the new template was not ready either
            pool._forkserver.fork_timeout_seconds = 90.0
            monkeypatch.setattr(pool, "_failures", loading.LoadBackoff())
            await pool.load(key("sums"), files("sums")())
        assert pool._forkserver.pid != hung
        assert await answer(pool, "sums", SUMS) == [11.0, 22.0]
        assert not psutil.pid_exists(hung)


async def test_what_a_model_started_ends_with_its_worker(opened: Opened, files: Lookup) -> None:
    """Processes of the model's own do not outlive it, nor do they hide its end."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        started = [await answer(pool, "commands", command(verb)) for verb in ("spawn", "fork")]
    pids = [pids[0] for pids in started if isinstance(pids, list)]
    for pid in pids:
        await _gone(pid)


async def test_a_full_queue_refuses_at_once(opened: Opened, files: Lookup) -> None:
    """Beyond the bound a caller is told at once; those admitted are answered."""
    async with opened(max_queue=3) as pool:
        await pool.load(COMMANDS, files("commands")())
        running = asyncio.create_task(answer(pool, "commands", command("sleep 0.5")))
        await asyncio.sleep(0.1)
        waiting = [asyncio.create_task(answer(pool, "commands", command("x"))) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await answer(pool, "commands", command("x"))
        assert len(await asyncio.gather(running, *waiting)) == 4


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("raise", "RuntimeError"),
        ("import", "a_package_that_nobody_has"),
        ("die", "process ended"),
        ("hang", "longer than"),
    ],
)
async def test_a_failed_load_says_why(opened: Opened, files: Lookup, how: str, words: str) -> None:
    """Whatever way a load fails, the caller is told, no path leaks, and no process is left."""
    async with opened(load_seconds=3.0) as pool:
        source = files(how)
        with pytest.raises(ModelLoadError, match=words) as failed:
            await pool.load(key(how), source())
        assert "/secret" not in str(failed.value)
        assert source.left == 1
        state = pool.status(key(how))
        assert state.state == "failed"
        assert state.reason == str(failed.value)
        with pytest.raises(ModelNotLoaded):
            await pool.predict(key(how), SUMS)


async def test_a_failed_load_is_remembered_briefly(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken model is not loaded on each request, and is tried again later."""
    monkeypatch.setattr(loading, "_INITIAL_DELAY_SECONDS", 0.5)
    flaky = Files(key("flaky"), models.save(tmp_path / "m", models.Broken(f"once {tmp_path / 'mark'}")))
    async with opened() as pool:
        for _ in range(3):
            with pytest.raises(ModelLoadError):
                await pool.load(flaky.key, flaky())
        assert flaky.entered == 1
        await asyncio.sleep(0.6)
        await pool.load(flaky.key, flaky())
        assert pool.status(flaky.key).state == "warm"


async def test_a_cancelled_load_leaves_no_process(opened: Opened, files: Lookup) -> None:
    """Whoever gives up on a load that hangs leaves nothing behind."""
    async with opened() as pool:
        source = files("hang")
        loading = asyncio.create_task(pool.load(key("hang"), source()))
        await asyncio.sleep(1.0)
        assert pool.status(key("hang")).state == "loading"
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
        assert source.left == 1
        assert pool.status(key("hang")).state == "cold"


async def test_the_least_recently_used_makes_room(opened: Opened, files: Lookup) -> None:
    """The number of loaded models is bounded: who was asked last stays."""
    async with opened(max_loaded_models=2) as pool:
        sums = files("sums")
        await pool.load(key("sums"), sums())
        await pool.load(key("tens"), files("tens")())
        await pool.load(COMMANDS, files("commands")())
        assert not pool.is_loaded(key("sums"))
        assert sums.left == 1
        assert pool.is_loaded(key("tens"))
        assert pool.is_loaded(COMMANDS)


async def test_pinned_and_busy_models_stay(opened: Opened, files: Lookup) -> None:
    """Where all are pinned or busy the newcomer waits, and is told when that takes too long."""
    async with opened(max_loaded_models=2, request_seconds=2.0) as pool:
        pool.pin(key("sums"))
        await pool.load(key("sums"), files("sums")())
        await pool.load(COMMANDS, files("commands")())
        busy = asyncio.create_task(answer(pool, "commands", command("sleep 1")))
        await asyncio.sleep(0.1)
        await pool.load(key("tens"), files("tens")())  # waits for the busy one to be idle
        await busy
        assert not pool.is_loaded(COMMANDS)
        pool.pin(key("tens"))
        with pytest.raises(CapacityExceeded):
            await pool.load(COMMANDS, files("commands")())
        pool.unpin(key("tens"))
        await pool.load(COMMANDS, files("commands")())
        assert pool.is_loaded(key("sums"))


async def test_idle_models_are_retired(opened: Opened, files: Lookup) -> None:
    """Nobody asks: the process ends and its memory comes back; pinned ones stay."""
    async with opened(idle_seconds=0.5) as pool:
        pool.pin(key("sums"))
        await pool.load(key("sums"), files("sums")())
        await pool.load(COMMANDS, files("commands")())
        pids = await answer(pool, "commands", command("x"))
        assert isinstance(pids, list)
        await _gone(pids[0])
        assert pool.status(COMMANDS).state == "cold"
        assert pool.is_loaded(key("sums"))


async def test_closing_answers_what_runs_and_refuses_the_rest(opened: Opened, files: Lookup) -> None:
    """Within the time to drain work is finished; later jobs are refused."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        work = [asyncio.create_task(answer(pool, "commands", command("sleep 0.1"))) for _ in range(5)]
        await asyncio.sleep(0.05)
        await pool.close(drain_seconds=10)
        assert len(await asyncio.gather(*work)) == 5
        with pytest.raises(PoolClosed):
            await pool.predict(COMMANDS, command("x"))
        with pytest.raises(PoolClosed):
            await pool.load(key("sums"), files("sums")())


async def test_closing_without_time_ends_what_runs(opened: Opened, files: Lookup) -> None:
    """Nobody is left waiting, and no process is."""
    async with opened() as pool:
        await pool.load(COMMANDS, files("commands")())
        pids = await answer(pool, "commands", command("x"))
        assert isinstance(pids, list)
        work = [asyncio.create_task(answer(pool, "commands", command("sleep 30"))) for _ in range(5)]
        await asyncio.sleep(0.1)
        await pool.close(drain_seconds=0)
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        assert all(isinstance(outcome, PoolClosed) for outcome in outcomes)
        await _gone(pids[0])


async def test_workers_draw_different_random_numbers(opened: Opened, files: Lookup) -> None:
    """Forks of one template must not share the state of its random generators."""
    async with opened(workers_per_model=2) as pool:
        await pool.load(COMMANDS, files("commands")())
        draws = await asyncio.gather(
            *(answer(pool, "commands", command("draw", "sleep 0.3")) for _ in range(2))
        )
        assert draws[0] != draws[1]


async def test_workers_see_the_given_environment_only(folders: dict[str, Path]) -> None:
    """What the operator keeps from the workers is in no worker, not even in what the kernel shows.

    In a process of its own, since the template is one per process.
    """
    script = Path(__file__).parents[2] / "support" / "see_environment.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        str(folders["commands"]),
        env={**os.environ, "A_SECRET": "hidden", "PYTHONPATH": str(Path(__file__).parents[3])},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    seen = orjson.loads(output.splitlines()[-1])
    assert seen["before"] == "hidden"
    assert seen["after"] == "hidden"
    assert "A_SECRET" not in seen["worker"]
    assert seen["worker"]["GIVEN"] == "yes"
    assert not seen["kernel_shows_it"]
    assert not seen["next_template_shows_it"]


async def _gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while _alive(pid):  # noqa: ASYNC110 - a process that is not ours tells nobody of its end
            await asyncio.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
