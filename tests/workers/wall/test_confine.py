"""Proves how a process is confined, and when it refuses to go on."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from tests.support.confined import run
from workers.wall import support
from workers.wall.confine import confine
from workers.wall.policy import WallError, WallPolicy

if TYPE_CHECKING:
    from tests.support.confined import Grounds

READ_OTHER = "return open(other + '/model.pkl').read() == 'secret'"


def test_off_confines_nothing(grounds: Grounds) -> None:
    """The operator's choice, of which the log warns."""
    assert run(grounds, READ_OTHER, mode="off").value


def test_readable_folders(grounds: Grounds) -> None:
    """They can be read and not written, and one that is gone stops no worker."""
    code = f"""
    try:
        open(other + '/model.pkl', 'a')
    except PermissionError:
        {READ_OTHER}
    """
    outcome = run(grounds, code, readable=[grounds.names["other"], "/gone"])
    assert outcome.value, outcome


def test_require_refuses_where_something_is_missing() -> None:
    """Before anything is changed, and with the reason."""
    here = support.assess(5, seccomp=True, machine="x86_64")
    with pytest.raises(WallError, match=r"require demands: Landlock 5 does not limit signals"):
        confine(WallPolicy("require"), read=(), write=(), here=here)


def test_auto_goes_on_where_nothing_is_there() -> None:
    """On other systems a worker runs as it did before."""
    confine(WallPolicy(), read=(), write=(), here=support.assess(0, seccomp=False, machine="arm64"))


def test_a_second_thread_is_refused(grounds: Grounds) -> None:
    """It would stay free: half a wall is none."""
    before = ["import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"]
    outcome = run(grounds, "return True", before=before)
    assert outcome.error == "WallError"
    assert "more than one thread" in outcome.text


def test_a_missing_folder_is_refused(grounds: Grounds) -> None:
    """The worker's own folders must be there, in every mode."""
    grounds.temporary.rmdir()
    outcome = run(grounds, "return True")
    assert outcome.error == "WallError"
    assert "Landlock failed: No such file or directory" in outcome.text


def test_no_privileges_are_left(grounds: Grounds) -> None:
    """No setuid program gains any, root's capabilities are gone, and the kernel writes no memory image."""
    code = """
    import resource
    wanted = ('NoN', 'Cap', 'Seccomp:')
    status = dict(line.split() for line in open('/proc/self/status') if line.startswith(wanted))
    return (status['NoNewPrivs:'], int(status['CapEff:'], 16), int(status['CapPrm:'], 16), status['Seccomp:'],
            resource.getrlimit(resource.RLIMIT_CORE)[1] <= 1)
    """
    assert run(grounds, code).value == ["1", 0, 0, "2", True]


def test_children_stay_confined(grounds: Grounds) -> None:
    """Forks, programs and what they start."""
    code = """
    import subprocess, sys
    program = 'import subprocess; print(subprocess.run(["/bin/cat", %r], capture_output=True).returncode)'
    return subprocess.check_output([sys.executable, '-c', program % (other + '/model.pkl')]) == b'1\\n'
    """
    assert run(grounds, code).value


def test_a_confined_process_can_confine_itself_further(grounds: Grounds) -> None:
    """Libraries that use Landlock or seccomp themselves still can, and gain nothing."""
    code = """
    from workers.wall.confine import confine
    from workers.wall.policy import WallPolicy
    confine(WallPolicy(), read=[model], write=[temporary])
    return open(model + '/MLmodel').read() == 'secret'
    """
    outcome = run(grounds, code)
    assert outcome.value, outcome


def test_a_policy_travels_between_processes() -> None:
    """The gateway sends it to the worker."""
    policy = WallPolicy("require", "none", ("/srv",))
    assert pickle.loads(pickle.dumps(policy)) == policy  # noqa: S301 - made here
