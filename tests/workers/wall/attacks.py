"""The attacks that a model can try, as bodies of functions: one that returns a true value has succeeded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack, and the first version of Landlock that stops it.

    `by` is the part of the wall that stops it. Some attacks fail without the wall too, as an ordinary user or
    on some machines: those are `anyway`, and only their failure is looked at.
    """

    name: str
    code: str
    by: str = "landlock"
    abi: int = 1
    anyway: bool = False


def _files(name: str, code: str, **more: int) -> Attack:
    return Attack(f"files: {name}", code, **more)


def _filtered(name: str, code: str, *, anyway: bool = False) -> Attack:
    return Attack(name, code, by="seccomp", anyway=anyway)


FILES: Final = (
    _files("read .env", "return open('.env').read() == 'secret'"),
    _files("read .env by its path", "return open(working + '/.env').read() == 'secret'"),
    _files("write .env", "return open('.env', 'r+').write('x')"),
    _files("create a file beside .env", "return open('new', 'w').write('x')"),
    _files("list the working folder", "import os\nreturn os.listdir('.')"),
    _files("read a key at home", "return open(home + '/.ssh/id').read() == 'secret'"),
    _files("read another model", "return open(other + '/model.pkl').read() == 'secret'"),
    _files("list the cache", "import os\nreturn os.listdir(other + '/..')"),
    _files("change another model", "return open(other + '/model.pkl', 'w').write('x')"),
    _files("change the own model", "return open(model + '/MLmodel', 'w').write('x')"),
    _files("add a file to the own model", "return open(model + '/new', 'w').write('x')"),
    _files("delete another model", "import os\nos.unlink(other + '/model.pkl')\nreturn True"),
    _files("rename the own model", "import os\nos.rename(model, model + '2')\nreturn True"),
    _files(
        "move another model here",
        "import os\nos.rename(other + '/model.pkl', temporary + '/x')\nreturn open(temporary + '/x').read()",
    ),
    _files(
        "hard link to another model",
        "import os\nos.link(other + '/model.pkl', temporary + '/x')\nreturn open(temporary + '/x').read()",
    ),
    _files(
        "symbolic link to another model",
        "import os\nos.symlink(other + '/model.pkl', temporary + '/x')\nreturn open(temporary + '/x').read()",
    ),
    _files("list the temporary folder", "import os\nreturn os.listdir(temporary + '/..')"),
    _files("read another worker's temporary file", "return open(temporary + '/../other').read()"),
    _files("/etc/shadow", "return open('/etc/shadow').read()"),
    _files("list /etc", "import os\nreturn os.listdir('/etc')"),
    _files("list /dev/shm", "import os\nreturn os.listdir('/dev/shm')"),
    _files("list /", "import os\nreturn os.listdir('/')"),
    _files("a terminal", "return open('/dev/ptmx', 'r+b', buffering=0)"),
    _files("by /proc/self/root", "return open('/proc/self/root' + working + '/.env').read()"),
    _files("by /proc/self/cwd", "return open('/proc/self/cwd/.env').read()"),
    _files(
        "by a descriptor of a folder",
        "import os\nfd = os.open(working, os.O_PATH)\nreturn os.open('.env', os.O_RDONLY, dir_fd=fd)",
    ),
    _files(
        "open a path's descriptor again",
        "import os\nfd = os.open('.env', os.O_PATH)\nreturn open(f'/proc/self/fd/{fd}').read()",
    ),
    _files("truncate by path", "import os\nos.truncate('.env', 0)\nreturn True", abi=3),
    _files(
        "a device of its own",
        "import os, stat\nos.mknod(temporary + '/d', 0o600 | stat.S_IFCHR, os.makedev(1, 1))\nreturn True",
    ),
    _files("oom_score_adj", "return open('/proc/self/oom_score_adj', 'w').write('-0')"),
    _files(
        "oom_score_adj of a child",
        "import os\npid = os.fork()\nif not pid:\n    open('/proc/self/oom_score_adj', 'w').write('0')\n"
        "    os._exit(7)\nreturn os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7",
    ),
    _files("write its memory by /proc", "return open('/proc/self/mem', 'r+b', buffering=0)"),
    _files("kernel parameters", "return open('/proc/sys/kernel/hostname', 'r+')"),
    _files(
        "run a program at home",
        "import os, subprocess\nreturn subprocess.run([home + '/program']).returncode == 0",
    ),
    _files(
        "load a library at home",
        "import ctypes\nreturn ctypes.CDLL(home + '/library.so')",
    ),
    _files(
        "a child with another library",
        "import os, subprocess\nreturn subprocess.run(['/bin/cat', working + '/.env'], "
        "env={'LD_PRELOAD': '/usr/lib/libc.so.6', 'PATH': '/bin'}, capture_output=True).stdout == b'secret'",
    ),
    _files(
        "a program in memory",
        "import os\nfd = os.memfd_create('x', 0)\nos.write(fd, open('/bin/cat', 'rb').read())\n"
        "r, w = os.pipe()\npid = os.fork()\nif not pid:\n    os.dup2(w, 1)\n"
        "    os.execve(f'/proc/self/fd/{fd}', ['cat', working + '/.env'], {})\n"
        "os.close(w)\nos.waitpid(pid, 0)\nreturn os.read(r, 100) == b'secret'",
    ),
)
PROCESSES: Final = (
    Attack("signal a neighbour", "import os, signal\nos.kill(pid, signal.SIGURG)\nreturn True", abi=6),
    Attack("signal the parent", "import os\nos.kill(os.getppid(), 0)\nreturn True", abi=6),
    Attack("signal by a process descriptor", "import signal, os\nsignal.pidfd_send_signal(os.pidfd_open(pid), 23)\nreturn True", abi=6),
    Attack("signal a thread", "call(200, pid, 23)\nreturn True", abi=6),
    Attack(
        "queue a signal",
        "import ctypes\ninfo = ctypes.create_string_buffer(128)\n"
        "ctypes.c_int.from_buffer(info, 8).value = -1\ncall(129, pid, 23, info)\nreturn True",
        abi=6,
    ),
    Attack("memory of a neighbour", "f = open(f'/proc/{pid}/mem', 'rb')\nf.seek(address)\nreturn f.read(6)"),
    Attack("environment of a neighbour", "return open(f'/proc/{pid}/environ').read()"),
    Attack("maps of a neighbour", "return open(f'/proc/{pid}/maps').read()"),
    Attack("descriptors of a neighbour", "import os\nreturn os.readlink(f'/proc/{pid}/fd/{pipe}')"),
    Attack("pipe of a neighbour", "import os\nreturn os.open(f'/proc/{pid}/fd/{pipe}', os.O_RDWR)"),
    Attack("root of a neighbour", "import os\nreturn os.readlink(f'/proc/{pid}/root')"),
    Attack("environment of the parent", "import os\nreturn open(f'/proc/{os.getppid()}/environ').read()"),
    Attack("oom_score_adj of a neighbour", "return open(f'/proc/{pid}/oom_score_adj', 'r+').write('0')"),
    Attack(
        "an abstract socket",
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('\\0' + abstract)\nreturn s.recv(6)",
        abi=6,
    ),
    _filtered("trace a neighbour", "call(101, 0x4206, pid, 0, 0)\nreturn True"),
    _filtered(
        "read a neighbour's memory",
        "import ctypes\nclass V(ctypes.Structure):\n    _fields_ = [('a', ctypes.c_void_p), ('n', ctypes.c_size_t)]\n"
        "b = ctypes.create_string_buffer(6)\n"
        "return call(310, pid, ctypes.byref(V(ctypes.addressof(b), 6)), 1, ctypes.byref(V(address, 6)), 1, 0)",
    ),
    _filtered("take a neighbour's descriptor", "import os\nreturn call(438, os.pidfd_open(pid), pipe, 0)"),
    _filtered("compare with a neighbour", "import os\ncall(312, os.getpid(), pid, 1, 0, 0)\nreturn True"),
    _filtered("limits of a neighbour", "import resource\nreturn resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))"),
    _filtered("priority of a neighbour", "import os\nos.setpriority(os.PRIO_PROCESS, pid, 1)\nreturn True"),
    _filtered("priority of all", "import os\nos.setpriority(os.PRIO_USER, 0, 0)\nreturn True"),
    _filtered("scheduler of a neighbour", "import os\nos.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))\nreturn True"),
    _filtered(
        "cores of a neighbour",
        "import os\nos.sched_setaffinity(pid, {min(os.sched_getaffinity(pid))})\n"
        "return len(os.sched_getaffinity(pid)) == 1",
    ),
    _filtered("disk priority of a neighbour", "call(251, 1, pid, 3 << 13)\nreturn True"),
    _filtered("signal all processes", "import os\nos.kill(-1, 0)\nreturn True"),
    _filtered("stop ending with the parent", _PDEATH := (
        "import ctypes\nn = ctypes.c_int()\nlib = ctypes.CDLL(None)\nlib.prctl(1, 9)\nlib.prctl(1, 0)\n"
        "lib.prctl(2, ctypes.byref(n))\nreturn n.value == 0"
    )),
    _filtered("end with the parent by an ignored signal", _PDEATH.replace("prctl(1, 0)", "prctl(1, 17)").replace("== 0", "== 17")),
    _filtered("adopt orphans", "import ctypes\nreturn ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0"),
    _filtered("a child of the parent", "import os\npid = call(56, 0x8000 | 17, 0, 0, 0, 0)\nif not pid:\n    os._exit(0)\nreturn True"),
)
SOCKETS: Final = (
    _filtered("a socket in the file system", "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(sockets + '/stream')\nreturn s.recv(6)"),
    _filtered(
        "a datagram by a pair",
        "import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "return a.sendto(b'x', sockets + '/datagram')",
    ),
    _filtered(
        "a raw pair",
        "import socket\na, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW)\n"
        "return a.sendto(b'x', sockets + '/datagram')",
    ),
    _filtered("packets", "import socket\nreturn socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", anyway=True),
    _filtered("the kernel's ciphers", "import socket\nreturn socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)", anyway=True),
    _filtered("the machine's host", "import socket\nreturn socket.socket(socket.AF_VSOCK)", anyway=True),
    _filtered("audit messages", "import socket\nreturn socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)", anyway=True),
    _filtered("an unusual protocol", "import socket\nreturn socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)", anyway=True),
)
KERNEL: Final = (
    _filtered("a user namespace", "call(272, 0x10000000)\nreturn True", anyway=True),
    _filtered("a namespace by clone", "import os\nif not call(56, 0x10000000 | 17, 0, 0, 0, 0):\n    os._exit(0)\nreturn True", anyway=True),
    _filtered("clone3", "call(435, 0, 0)", anyway=True),
    _filtered("mount", "import ctypes\nreturn ctypes.CDLL(None).mount(b'x', temporary.encode(), b'tmpfs', 0, None) == 0", anyway=True),
    _filtered("chroot", "import os\nos.chroot(temporary)\nreturn True", anyway=True),
    _filtered("open_by_handle_at", "call(304, -100, 0, 0)\nreturn True", anyway=True),
    _filtered("bpf", "return call(321, 0, 0, 0)", anyway=True),
    _filtered("io_uring", "import ctypes\nreturn call(425, 8, ctypes.create_string_buffer(120))"),
    _filtered("userfaultfd", "return call(323, 1)", anyway=True),
    _filtered("keys", "return call(250, 0, -3, 1)"),
    _filtered("x32", "return call(0x40000000 | 39)", anyway=True),
    _filtered("an unknown call", "return call(471, 0, 0, 0)", anyway=True),
    _filtered("personality", "call(135, 0x0040000)\nreturn call(135, 0xFFFFFFFF) == 0x0040000"),
    _filtered("shared memory by key", "import ctypes\nshm = ctypes.CDLL(None).shmget(key, 4096, 0)\nreturn shm >= 0"),
    _filtered("a message queue", "return call(240, b'wall-queue', 0o102, 0o600, 0) and call(241, b'wall-queue') == 0"),
    _filtered("watch a folder", "import ctypes\nlib = ctypes.CDLL(None)\nreturn lib.inotify_add_watch(lib.inotify_init1(0), root.encode(), 0x100) >= 0"),
    _filtered("a lease on the own model", "import fcntl, os\nfd = os.open(model + '/MLmodel', os.O_RDONLY)\nfcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)\nreturn True"),
    _filtered("type on a terminal", "import fcntl, os\nm, s = os.openpty()\nfcntl.ioctl(s, 0x540E, 0)\nfcntl.ioctl(s, 0x5412, b'x')\nreturn True", anyway=True),
)
MODES: Final = (
    _filtered("mode of another's file", "import os\nos.chmod(other + '/model.pkl', 0o777)\nreturn os.stat(other + '/model.pkl').st_mode & 0o777 == 0o777"),
    _filtered("mode by a descriptor", "import os\nfd = os.open(model + '/MLmodel', os.O_RDONLY)\nos.fchmod(fd, 0)\nreturn os.stat(fd).st_mode & 0o777 == 0"),
    _filtered("mode of a path's descriptor", "import os\nfd = os.open('.env', os.O_PATH)\ncall(452, fd, b'', 0o777, 0x1000)\nreturn os.stat('.env').st_mode & 0o777 == 0o777"),
    _filtered("owner of another's file", "import os\nos.chown(other + '/model.pkl', -1, 12345)\nreturn os.stat(other + '/model.pkl').st_gid == 12345"),
    _filtered("times of another's file", "import os\nos.utime(other + '/model.pkl', (1, 1))\nreturn os.stat(other + '/model.pkl').st_mtime == 1"),
    _filtered("attributes of another's file", "import os\nos.setxattr(other + '/model.pkl', 'user.x', b'x')\nreturn True"),
    _filtered("flags of the own model", "import fcntl, os\nfd = os.open(model + '/MLmodel', os.O_RDONLY)\nfcntl.ioctl(fd, 0x40086602, (0x40).to_bytes(8, 'little'))\nreturn True", anyway=True),
)
SIGNAL_BY_DESCRIPTOR: Final = (
    "import fcntl, os\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, pid)\n"
    "fcntl.fcntl(r, 10, 64)\nfcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)\nos.write(w, b'x')\nreturn True"
)
ALL: Final = FILES + PROCESSES + SOCKETS + KERNEL + MODES
