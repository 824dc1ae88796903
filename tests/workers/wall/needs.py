"""What real libraries do, as bodies of functions: one that returns a true value works behind the wall."""

from __future__ import annotations

from typing import Final

NEEDS: Final = {
    "temporary files": """
    import tempfile, os
    with tempfile.NamedTemporaryFile() as f:
        f.write(b'x')
        return f.name.startswith(temporary)
    """,
    "a folder of files": """
    import shutil, os
    os.makedirs('T/a/b'.replace('T', temporary))
    open(temporary + '/a/b/f', 'w').write('x')
    shutil.copytree(temporary + '/a', temporary + '/c')
    os.rename(temporary + '/c/b/f', temporary + '/g')
    shutil.rmtree(temporary + '/a')
    return open(temporary + '/g').read() == 'x'
    """,
    "copy with times and modes": """
    import shutil
    return shutil.copy2(model + '/MLmodel', temporary + '/m')
    """,
    "archives": """
    import tarfile, zipfile
    with tarfile.open(temporary + '/t.tgz', 'w:gz') as t:
        t.add(model, 'm')
    with tarfile.open(temporary + '/t.tgz') as t:
        t.extractall(temporary + '/out')
    return open(temporary + '/out/m/MLmodel').read() == 'secret'
    """,
    "its own files": """
    return open(model + '/MLmodel').read() == 'secret'
    """,
    "sqlite": """
    import sqlite3
    with sqlite3.connect(temporary + '/db') as c:
        c.execute('create table t (a)')
        c.execute('insert into t values (1)')
    return True
    """,
    "sqlite in WAL mode": """
    import sqlite3
    c = sqlite3.connect(temporary + '/db')
    c.execute('pragma journal_mode=wal')
    c.execute('create table t (a)')
    c.commit()
    c.close()
    return True
    """,
    "users and groups": """
    import pwd, os, getpass
    return pwd.getpwuid(os.getuid()).pw_name and getpass.getuser()
    """,
    "about the machine": """
    import platform, os, sysconfig
    platform.platform(), platform.freedesktop_os_release(), platform.libc_ver(), platform.processor()
    return os.cpu_count() and len(os.sched_getaffinity(0)) and os.getloadavg()
    """,
    "files about itself": """
    import os
    files = 'self/status', 'self/maps', 'self/cgroup', 'self/task/self/comm', 'meminfo', 'cpuinfo', 'stat'
    for name in files:
        open('/proc/' + name.replace('task/self', f'task/{os.getpid()}')).read()
    return os.listdir('/proc/self/fd') and os.readlink('/proc/self/exe')
    """,
    "psutil": """
    import psutil, os
    p = psutil.Process()
    p.memory_info(), p.memory_full_info(), p.cpu_percent(), p.num_fds(), p.open_files(), p.threads()
    return psutil.virtual_memory().total and psutil.cpu_count() and psutil.disk_usage(temporary).free
    """,
    "psutil of a child": """
    import psutil, os, signal
    pid = os.fork()
    if not pid:
        signal.pause()
    c = psutil.Process(pid)
    c.memory_full_info(), c.environ(), c.num_fds()
    c.kill()
    os.waitpid(pid, 0)
    return True
    """,
    "threads": """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(4) as e:
        return list(e.map(len, ['a', 'bb']))
    """,
    "programs": r"""
    import subprocess
    piped = subprocess.run(['/bin/sh', '-c', 'echo hi | cat'], capture_output=True)
    ended = ['/bin/sh', '-c', 'cat > /dev/null < /dev/zero & kill $!; wait; echo x']
    return piped.stdout == b'hi\n' and subprocess.check_output(ended)
    """,
    "a script of its own": r"""
    import subprocess, sys
    open(temporary + '/s.py', 'w').write('print(1)')
    return subprocess.check_output([sys.executable, temporary + '/s.py']) == b'1\n'
    """,
    "time zones": """
    import zoneinfo, datetime
    return datetime.datetime.now(zoneinfo.ZoneInfo('Europe/Berlin')).utcoffset()
    """,
    "the local time": """
    import time
    return time.strftime('%Z')
    """,
    "certificates": """
    import ssl
    context = ssl.create_default_context()
    return context.cert_store_stats()['x509_ca'] > 0
    """,
    "certifi": """
    import ssl, certifi
    return ssl.create_default_context(cafile=certifi.where())
    """,
    "names": """
    import socket
    return socket.getaddrinfo('localhost', 80) and socket.gethostname()
    """,
    "types of files": """
    import mimetypes
    return mimetypes.guess_type('a.csv')[0]
    """,
    "libraries of the system": """
    import ctypes, ctypes.util
    return ctypes.CDLL(ctypes.util.find_library('m') or 'libm.so.6')
    """,
    "TCP": """
    import socket, threading
    s = socket.create_server(('127.0.0.1', 0))
    c = socket.create_connection(s.getsockname())
    a, _ = s.accept()
    c.sendall(b'x')
    return a.recv(1) == b'x'
    """,
    "UDP": """
    import socket
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('127.0.0.1', 0))
    s.sendto(b'x', s.getsockname())
    return s.recv(1) == b'x'
    """,
    "asyncio": r"""
    import asyncio
    async def main():
        p = await asyncio.create_subprocess_exec('/bin/echo', 'hi', stdout=-1)
        return (await p.communicate())[0] == b'hi\n' and await asyncio.to_thread(len, 'ab') == 2
    return asyncio.run(main())
    """,
    "random numbers": """
    import os, secrets
    open('/dev/urandom', 'rb').read(4)
    return os.urandom(4) and secrets.token_hex()
    """,
    "devices": r"""
    open('/dev/null', 'w').write('x')
    return open('/dev/zero', 'rb').read(1) == b'\0'
    """,
    "memory files": """
    import os, mmap
    fd = os.memfd_create('x')
    os.ftruncate(fd, 4096)
    m = mmap.mmap(fd, 4096)
    m[0] = 1
    return m[0]
    """,
    "shared memory": """
    from multiprocessing.shared_memory import SharedMemory
    m = SharedMemory(create=True, size=64)
    m.buf[0] = 7
    o = SharedMemory(m.name)
    r = o.buf[0] == 7
    o.close()
    m.close()
    m.unlink()
    return r
    """,
    "shared memory that cannot be guessed": """
    from multiprocessing.shared_memory import SharedMemory
    m = SharedMemory(create=True, size=64)
    m.close()
    m.unlink()
    return len(m.name) > 40
    """,
    "locks": """
    import multiprocessing as mp
    with mp.Lock():
        return mp.Value('i', 3).value
    """,
    "processes by fork": """
    import multiprocessing as mp
    with mp.get_context('fork').Pool(2) as p:
        return p.map(len, ['a', 'bb']) == [1, 2]
    """,
    "processes by spawn": """
    import multiprocessing as mp
    with mp.get_context('spawn').Pool(2) as p:
        return p.map(len, ['a', 'bb']) == [1, 2]
    """,
    "processes by fork server": """
    import multiprocessing as mp
    with mp.get_context('forkserver').Pool(2) as p:
        return p.map(len, ['a', 'bb']) == [1, 2]
    """,
    "an executor by fork server": """
    import multiprocessing as mp
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(2, mp_context=mp.get_context('forkserver')) as p:
        return list(p.map(len, ['a', 'bb'])) == [1, 2]
    """,
    "a manager": """
    import multiprocessing as mp
    with mp.get_context('fork').Manager() as m:
        d = m.dict()
        p = mp.get_context('fork').Process(target=d.__setitem__, args=('a', 1))
        p.start()
        p.join()
        return dict(d) == {'a': 1}
    """,
    "a manager by spawn": """
    import multiprocessing as mp
    with mp.get_context('spawn').Manager() as m:
        l = m.list([1])
        l.append(2)
        return list(l) == [1, 2]
    """,
    "send a descriptor": """
    import multiprocessing as mp, os
    from multiprocessing import reduction
    ctx = mp.get_context('fork')
    q = ctx.SimpleQueue()
    def child():
        fd = os.memfd_create('x')
        os.write(fd, b'hello')
        q.put(reduction.DupFd(fd))
        ev.wait()
    ev = ctx.Event()
    p = ctx.Process(target=child)
    p.start()
    fd = q.get().detach()
    ev.set()
    p.join()
    return os.pread(fd, 5, 0) == b'hello'
    """,
    "send a connection": """
    import multiprocessing as mp
    ctx = mp.get_context('fork')
    a, b = ctx.Pipe(duplex=False)
    q = ctx.SimpleQueue()
    def child():
        c = q.get()
        c.send('hi')
    p = ctx.Process(target=child)
    p.start()
    q.put(b)
    r = a.recv() == 'hi'
    p.join()
    return r
    """,
    "many descriptors": """
    import multiprocessing as mp, os
    from multiprocessing import reduction
    ctx = mp.get_context('fork')
    q = ctx.Queue()
    def child(n):
        for i in range(20):
            fd = os.memfd_create('x')
            os.write(fd, b'%d' % n)
            q.put(reduction.DupFd(fd))
            os.close(fd)
        ev.wait()
    ev = ctx.Event()
    ps = [ctx.Process(target=child, args=(n,)) for n in range(3)]
    [p.start() for p in ps]
    found = sorted(os.pread(q.get().detach(), 5, 0) for _ in range(60))
    ev.set()
    [p.join() for p in ps]
    return found == [b'0'] * 20 + [b'1'] * 20 + [b'2'] * 20
    """,
    "numpy": """
    import numpy as np
    return float(np.linalg.svd(np.random.rand(50, 50))[1].sum())
    """,
    "pandas": """
    import pandas as pd
    d = pd.DataFrame({'a': [1, 2]})
    d.to_parquet(temporary + '/a.parquet')
    return len(pd.read_parquet(temporary + '/a.parquet')) == 2 and str(pd.Timestamp.now('Europe/Berlin'))
    """,
    "scikit-learn": """
    import numpy as np
    from sklearn.ensemble import RandomForestClassifier
    X = np.random.rand(50, 3)
    return len(RandomForestClassifier(5, n_jobs=2).fit(X, X[:, 0] > .5).predict(X)) == 50
    """,
    "joblib": """
    import joblib
    return joblib.Parallel(2)(joblib.delayed(len)(x) for x in ['a', 'bb']) == [1, 2]
    """,
    "joblib with large arrays": """
    import joblib, numpy as np
    a = np.ones(2_000_000)
    return joblib.Parallel(2)(joblib.delayed(np.sum)(x) for x in [a, a]) == [2e6, 2e6]
    """,
    "joblib's cache": """
    import joblib
    m = joblib.Memory(temporary + '/c', verbose=0)
    return m.cache(len)('abc') == 3 and m.cache(len)('abc') == 3
    """,
    "matplotlib": """
    import matplotlib
    matplotlib.use('agg')
    import matplotlib.pyplot as plt
    plt.plot([1, 2])
    plt.title('x')
    plt.savefig(temporary + '/x.png')
    return True
    """,
    "mlflow": """
    import mlflow.pyfunc
    return True
    """,
}
WITHOUT_NETWORK: Final = (
    "asyncio", "processes by fork", "processes by spawn", "processes by fork server", "a manager",
    "joblib", "matplotlib",
)  # fmt: skip
"""What also works where models have no network."""
