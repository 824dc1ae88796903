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


def _filtered(name: str, code: str, *, anyway: bool = False) -> Attack:
    return Attack(name, code, by="seccomp", anyway=anyway)


FILES: Final = (
    Attack(
        "files: read .env",
        """
        return open('.env').read() == 'secret'
        """,
    ),
    Attack(
        "files: read .env by its path",
        """
        return open(working + '/.env').read() == 'secret'
        """,
    ),
    Attack(
        "files: write .env",
        """
        return open('.env', 'r+').write('x')
        """,
    ),
    Attack(
        "files: create a file beside .env",
        """
        return open('new', 'w').write('x')
        """,
    ),
    Attack(
        "files: list the working folder",
        """
        import os
        return os.listdir('.')
        """,
    ),
    Attack(
        "files: read a key at home",
        """
        return open(home + '/.ssh/id').read() == 'secret'
        """,
    ),
    Attack(
        "files: read another model",
        """
        return open(other + '/model.pkl').read() == 'secret'
        """,
    ),
    Attack(
        "files: list the cache",
        """
        import os
        return os.listdir(other + '/..')
        """,
    ),
    Attack(
        "files: change another model",
        """
        return open(other + '/model.pkl', 'w').write('x')
        """,
    ),
    Attack(
        "files: change the own model",
        """
        return open(model + '/MLmodel', 'w').write('x')
        """,
    ),
    Attack(
        "files: add a file to the own model",
        """
        return open(model + '/new', 'w').write('x')
        """,
    ),
    Attack(
        "files: delete another model",
        """
        import os
        os.unlink(other + '/model.pkl')
        return True
        """,
    ),
    Attack(
        "files: rename the own model",
        """
        import os
        os.rename(model, model + '2')
        return True
        """,
    ),
    Attack(
        "files: move another model here",
        """
        import os
        os.rename(other + '/model.pkl', temporary + '/x')
        return open(temporary + '/x').read()
        """,
    ),
    Attack(
        "files: hard link to another model",
        """
        import os
        os.link(other + '/model.pkl', temporary + '/x')
        return open(temporary + '/x').read()
        """,
    ),
    Attack(
        "files: symbolic link to another model",
        """
        import os
        os.symlink(other + '/model.pkl', temporary + '/x')
        return open(temporary + '/x').read()
        """,
    ),
    Attack(
        "files: list the temporary folder",
        """
        import os
        return os.listdir(temporary + '/..')
        """,
    ),
    Attack(
        "files: read another worker's temporary file",
        """
        return open(temporary + '/../other').read()
        """,
    ),
    Attack(
        "files: /etc/shadow",
        """
        return open('/etc/shadow').read()
        """,
    ),
    Attack(
        "files: list /etc",
        """
        import os
        return os.listdir('/etc')
        """,
    ),
    Attack(
        "files: list /dev/shm",
        """
        import os
        return os.listdir('/dev/shm')
        """,
    ),
    Attack(
        "files: list /",
        """
        import os
        return os.listdir('/')
        """,
    ),
    Attack(
        "files: a terminal",
        """
        return open('/dev/ptmx', 'r+b', buffering=0)
        """,
    ),
    Attack(
        "files: by /proc/self/root",
        """
        return open('/proc/self/root' + working + '/.env').read()
        """,
    ),
    Attack(
        "files: by /proc/self/cwd",
        """
        return open('/proc/self/cwd/.env').read()
        """,
    ),
    Attack(
        "files: by a descriptor of a folder",
        """
        import os
        fd = os.open(working, os.O_PATH)
        return os.open('.env', os.O_RDONLY, dir_fd=fd)
        """,
    ),
    Attack(
        "files: open a path's descriptor again",
        """
        import os
        fd = os.open('.env', os.O_PATH)
        return open(f'/proc/self/fd/{fd}').read()
        """,
    ),
    Attack(
        "files: truncate by path",
        """
        import os
        os.truncate('.env', 0)
        return True
        """,
        abi=3,
    ),
    Attack(
        "files: a device of its own",
        """
        import os, stat
        os.mknod(temporary + '/d', 0o600 | stat.S_IFCHR, os.makedev(1, 1))
        return True
        """,
    ),
    Attack(
        "files: oom_score_adj",
        """
        return open('/proc/self/oom_score_adj', 'w').write('-0')
        """,
    ),
    Attack(
        "files: oom_score_adj of a child",
        """
        import os
        pid = os.fork()
        if not pid:
            open('/proc/self/oom_score_adj', 'w').write('0')
            os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        """,
    ),
    Attack(
        "files: write its memory by /proc",
        """
        return open('/proc/self/mem', 'r+b', buffering=0)
        """,
    ),
    Attack(
        "files: kernel parameters",
        """
        return open('/proc/sys/kernel/hostname', 'r+')
        """,
    ),
    Attack(
        "files: run a program at home",
        """
        import os, subprocess
        return subprocess.run([home + '/program']).returncode == 0
        """,
    ),
    Attack(
        "files: load a library at home",
        """
        import ctypes
        return ctypes.CDLL(home + '/library.so')
        """,
    ),
    Attack(
        "files: a child with another library",
        """
        import os, subprocess
        return subprocess.run(['/bin/cat', working + '/.env'], env={'LD_PRELOAD': '/usr/lib/libc.so.6',
            'PATH': '/bin'}, capture_output=True).stdout == b'secret'
        """,
    ),
    Attack(
        "files: a program in memory",
        """
        import os
        fd = os.memfd_create('x', 0)
        os.write(fd, open('/bin/cat', 'rb').read())
        r, w = os.pipe()
        pid = os.fork()
        if not pid:
            os.dup2(w, 1)
            os.execve(f'/proc/self/fd/{fd}', ['cat', working + '/.env'], {})
        os.close(w)
        os.waitpid(pid, 0)
        return os.read(r, 100) == b'secret'
        """,
    ),
)
PROCESSES: Final = (
    Attack(
        "signal a neighbour",
        """
        import os, signal
        os.kill(pid, signal.SIGURG)
        return True
        """,
        abi=6,
    ),
    Attack(
        "signal the parent",
        """
        import os
        os.kill(os.getppid(), 0)
        return True
        """,
        abi=6,
    ),
    Attack(
        "signal by a process descriptor",
        """
        import signal, os
        signal.pidfd_send_signal(os.pidfd_open(pid), 23)
        return True
        """,
        abi=6,
    ),
    Attack(
        "signal a thread",
        """
        call(200, pid, 23)
        return True
        """,
        abi=6,
    ),
    Attack(
        "queue a signal",
        """
        import ctypes
        info = ctypes.create_string_buffer(128)
        ctypes.c_int.from_buffer(info, 8).value = -1
        call(129, pid, 23, info)
        return True
        """,
        abi=6,
    ),
    Attack(
        "memory of a neighbour",
        """
        f = open(f'/proc/{pid}/mem', 'rb')
        f.seek(address)
        return f.read(6)
        """,
    ),
    Attack(
        "environment of a neighbour",
        """
        return open(f'/proc/{pid}/environ').read()
        """,
    ),
    Attack(
        "maps of a neighbour",
        """
        return open(f'/proc/{pid}/maps').read()
        """,
    ),
    Attack(
        "descriptors of a neighbour",
        """
        import os
        return os.readlink(f'/proc/{pid}/fd/{pipe}')
        """,
    ),
    Attack(
        "pipe of a neighbour",
        """
        import os
        return os.open(f'/proc/{pid}/fd/{pipe}', os.O_RDWR)
        """,
    ),
    Attack(
        "root of a neighbour",
        """
        import os
        return os.readlink(f'/proc/{pid}/root')
        """,
    ),
    Attack(
        "environment of the parent",
        """
        import os
        return open(f'/proc/{os.getppid()}/environ').read()
        """,
    ),
    Attack(
        "oom_score_adj of a neighbour",
        """
        return open(f'/proc/{pid}/oom_score_adj', 'r+').write('0')
        """,
    ),
    Attack(
        "an abstract socket",
        r"""
        import socket
        s = socket.socket(socket.AF_UNIX)
        s.connect('\0' + abstract)
        return s.recv(6)
        """,
        abi=6,
    ),
    _filtered(
        "trace a neighbour",
        """
        call(101, 0x4206, pid, 0, 0)
        return True
        """,
    ),
    _filtered(
        "read a neighbour's memory",
        """
        import ctypes
        class V(ctypes.Structure):
            _fields_ = [('a', ctypes.c_void_p), ('n', ctypes.c_size_t)]
        b = ctypes.create_string_buffer(6)
        return call(310, pid, ctypes.byref(V(ctypes.addressof(b), 6)), 1, ctypes.byref(V(address, 6)), 1, 0)
        """,
    ),
    _filtered(
        "take a neighbour's descriptor",
        """
        import os
        return call(438, os.pidfd_open(pid), pipe, 0)
        """,
    ),
    _filtered(
        "compare with a neighbour",
        """
        import os
        call(312, os.getpid(), pid, 1, 0, 0)
        return True
        """,
    ),
    _filtered(
        "limits of a neighbour",
        """
        import resource
        return resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        """,
    ),
    _filtered(
        "priority of a neighbour",
        """
        import os
        os.setpriority(os.PRIO_PROCESS, pid, 1)
        return True
        """,
    ),
    _filtered(
        "priority of all",
        """
        import os
        os.setpriority(os.PRIO_USER, 0, 0)
        return True
        """,
    ),
    _filtered(
        "scheduler of a neighbour",
        """
        import os
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
        return True
        """,
    ),
    _filtered(
        "cores of a neighbour",
        """
        import os
        os.sched_setaffinity(pid, {min(os.sched_getaffinity(pid))})
        return len(os.sched_getaffinity(pid)) == 1
        """,
    ),
    _filtered(
        "disk priority of a neighbour",
        """
        call(251, 1, pid, 3 << 13)
        return True
        """,
    ),
    _filtered(
        "signal all processes",
        """
        import os
        os.kill(-1, 0)
        return True
        """,
    ),
    _filtered(
        "stop ending with the parent",
        """
        import ctypes
        n = ctypes.c_int()
        lib = ctypes.CDLL(None)
        lib.prctl(1, 9)
        lib.prctl(1, 0)
        lib.prctl(2, ctypes.byref(n))
        return n.value == 0
        """,
    ),
    _filtered(
        "end with the parent by an ignored signal",
        """
        import ctypes
        n = ctypes.c_int()
        lib = ctypes.CDLL(None)
        lib.prctl(1, 9)
        lib.prctl(1, 17)
        lib.prctl(2, ctypes.byref(n))
        return n.value == 17
        """,
    ),
    _filtered(
        "adopt orphans",
        """
        import ctypes
        return ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
        """,
    ),
    _filtered(
        "a child of the parent",
        """
        import os
        pid = call(56, 0x8000 | 17, 0, 0, 0, 0)
        if not pid:
            os._exit(0)
        return True
        """,
    ),
)
SOCKETS: Final = (
    Attack(
        "share a neighbour's port",
        """
        import socket
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(('127.0.0.1', port))
        s.listen()
        return True
        """,
        abi=4,
    ),
    _filtered(
        "share a neighbour's port by MPTCP",
        """
        import socket
        s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(('127.0.0.1', port))
        s.listen()
        return True
        """,
        anyway=True,
    ),
    _filtered(
        "a socket in the file system",
        """
        import socket
        s = socket.socket(socket.AF_UNIX)
        s.connect(sockets + '/stream')
        return s.recv(6)
        """,
    ),
    _filtered(
        "a datagram by a pair",
        """
        import socket
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        return a.sendto(b'x', sockets + '/datagram')
        """,
    ),
    _filtered(
        "a raw pair",
        """
        import socket
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW)
        return a.sendto(b'x', sockets + '/datagram')
        """,
    ),
    _filtered(
        "packets",
        """
        import socket
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        """,
        anyway=True,
    ),
    _filtered(
        "the kernel's ciphers",
        """
        import socket
        return socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)
        """,
        anyway=True,
    ),
    _filtered(
        "the machine's host",
        """
        import socket
        return socket.socket(socket.AF_VSOCK)
        """,
        anyway=True,
    ),
    _filtered(
        "audit messages",
        """
        import socket
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9)
        """,
        anyway=True,
    ),
    _filtered(
        "an unusual protocol",
        """
        import socket
        return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)
        """,
        anyway=True,
    ),
)
KERNEL: Final = (
    _filtered(
        "a user namespace",
        """
        call(272, 0x10000000)
        return True
        """,
        anyway=True,
    ),
    _filtered(
        "a namespace by clone",
        """
        import os
        if not call(56, 0x10000000 | 17, 0, 0, 0, 0):
            os._exit(0)
        return True
        """,
        anyway=True,
    ),
    _filtered(
        "clone3",
        """
        call(435, 0, 0)
        """,
        anyway=True,
    ),
    _filtered(
        "mount",
        """
        import ctypes
        return ctypes.CDLL(None).mount(b'x', temporary.encode(), b'tmpfs', 0, None) == 0
        """,
        anyway=True,
    ),
    _filtered(
        "chroot",
        """
        import os
        os.chroot(temporary)
        return True
        """,
        anyway=True,
    ),
    _filtered(
        "open_by_handle_at",
        """
        call(304, -100, 0, 0)
        return True
        """,
        anyway=True,
    ),
    _filtered(
        "bpf",
        """
        return call(321, 0, 0, 0)
        """,
        anyway=True,
    ),
    _filtered(
        "io_uring",
        """
        import ctypes
        return call(425, 8, ctypes.create_string_buffer(120))
        """,
    ),
    _filtered(
        "userfaultfd",
        """
        return call(323, 1)
        """,
        anyway=True,
    ),
    _filtered(
        "keys",
        """
        return call(250, 0, -3, 1)
        """,
    ),
    _filtered(
        "x32",
        """
        return call(0x40000000 | 39)
        """,
        anyway=True,
    ),
    _filtered(
        "an unknown call",
        """
        return call(471, 0, 0, 0)
        """,
        anyway=True,
    ),
    _filtered(
        "personality",
        """
        call(135, 0x0040000)
        return call(135, 0xFFFFFFFF) == 0x0040000
        """,
    ),
    _filtered(
        "shared memory by key",
        """
        import ctypes
        shm = ctypes.CDLL(None).shmget(key, 4096, 0)
        return shm >= 0
        """,
    ),
    _filtered(
        "a message queue",
        """
        return call(240, b'wall-queue', 0o102, 0o600, 0) and call(241, b'wall-queue') == 0
        """,
    ),
    _filtered(
        "watch a folder",
        """
        import ctypes
        lib = ctypes.CDLL(None)
        return lib.inotify_add_watch(lib.inotify_init1(0), root.encode(), 0x100) >= 0
        """,
    ),
    _filtered(
        "a lease on the own model",
        """
        import fcntl, os
        fd = os.open(model + '/MLmodel', os.O_RDONLY)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        return True
        """,
    ),
    _filtered(
        "type on a terminal",
        """
        import fcntl, os
        m, s = os.openpty()
        fcntl.ioctl(s, 0x540E, 0)
        fcntl.ioctl(s, 0x5412, b'x')
        return True
        """,
        anyway=True,
    ),
)
MODES: Final = (
    _filtered(
        "mode of another's file",
        """
        import os
        os.chmod(other + '/model.pkl', 0o777)
        return os.stat(other + '/model.pkl').st_mode & 0o777 == 0o777
        """,
    ),
    _filtered(
        "mode by a descriptor",
        """
        import os
        fd = os.open(model + '/MLmodel', os.O_RDONLY)
        os.fchmod(fd, 0)
        return os.stat(fd).st_mode & 0o777 == 0
        """,
    ),
    _filtered(
        "mode of a path's descriptor",
        """
        import os
        fd = os.open('.env', os.O_PATH)
        call(452, fd, b'', 0o777, 0x1000)
        return os.stat('.env').st_mode & 0o777 == 0o777
        """,
    ),
    _filtered(
        "owner of another's file",
        """
        import os
        os.chown(other + '/model.pkl', -1, 12345)
        return os.stat(other + '/model.pkl').st_gid == 12345
        """,
    ),
    _filtered(
        "times of another's file",
        """
        import os
        os.utime(other + '/model.pkl', (1, 1))
        return os.stat(other + '/model.pkl').st_mtime == 1
        """,
    ),
    _filtered(
        "attributes of another's file",
        """
        import os
        os.setxattr(other + '/model.pkl', 'user.x', b'x')
        return True
        """,
    ),
    _filtered(
        "flags of the own model",
        """
        import fcntl, os
        fd = os.open(model + '/MLmodel', os.O_RDONLY)
        fcntl.ioctl(fd, 0x40086602, (0x40).to_bytes(8, 'little'))
        return True
        """,
        anyway=True,
    ),
)
FURTHER: Final = (
    _filtered(
        "connect one of a pair",
        r"""
        import socket, struct
        a, b = socket.socketpair()
        b.close()
        address = struct.pack('H', 1) + (sockets + '/stream').encode() + b'\0'
        return call(42, a.fileno(), address, len(address)) == 0
        """,
        anyway=True,
    ),
    Attack(
        "rules of its own",
        """
        from workers.wall import landlock
        rules = landlock.Ruleset(1, network=True)
        rules.allow('/', landlock.READ)
        rules.restrict_self()
        return open('.env').read() == 'secret'
        """,
        anyway=True,
    ),
    Attack(
        "a program at home by the loader",
        """
        import subprocess
        return subprocess.run(['/lib64/ld-linux-x86-64.so.2', home + '/program']).returncode == 0
        """,
    ),
    Attack(
        "a pipe in another's folder",
        """
        import os
        os.mkfifo(root + '/pipe')
        return True
        """,
    ),
    Attack(
        "another control group",
        """
        return open('/sys/fs/cgroup/cgroup.procs', 'w')
        """,
        anyway=True,
    ),
    _filtered(
        "sockets of all processes",
        """
        import socket
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4)
        """,
        anyway=True,
    ),
    _filtered(
        "notices of a folder",
        """
        import fcntl, os
        return fcntl.fcntl(os.open('/usr', os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_MODIFY) == 0
        """,
    ),
)
SIGNAL_BY_DESCRIPTOR: Final = """
    import fcntl, os
    r, w = os.pipe()
    fcntl.fcntl(r, fcntl.F_SETOWN, pid)
    fcntl.fcntl(r, 10, 64)
    fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)
    os.write(w, b'x')
    return True
    """
ALL: Final = FILES + PROCESSES + SOCKETS + KERNEL + MODES + FURTHER
