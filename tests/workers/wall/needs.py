"""What real libraries do, as bodies of functions: one that returns a true value works behind the wall."""

from __future__ import annotations

from typing import Final

NEEDS: Final = {
    "temporary files": "import tempfile, os\nwith tempfile.NamedTemporaryFile() as f:\n    f.write(b'x')\n    return f.name.startswith(temporary)",
    "a folder of files": "import shutil, os\nos.makedirs('T/a/b'.replace('T', temporary))\nopen(temporary + '/a/b/f', 'w').write('x')\n"
    "shutil.copytree(temporary + '/a', temporary + '/c')\nos.rename(temporary + '/c/b/f', temporary + '/g')\nshutil.rmtree(temporary + '/a')\nreturn open(temporary + '/g').read() == 'x'",
    "copy with times and modes": "import shutil\nreturn shutil.copy2(model + '/MLmodel', temporary + '/m')",
    "archives": "import tarfile, zipfile\nwith tarfile.open(temporary + '/t.tgz', 'w:gz') as t:\n    t.add(model, 'm')\n"
    "with tarfile.open(temporary + '/t.tgz') as t:\n    t.extractall(temporary + '/out')\nreturn open(temporary + '/out/m/MLmodel').read() == 'secret'",
    "its own files": "return open(model + '/MLmodel').read() == 'secret'",
    "sqlite": "import sqlite3\nwith sqlite3.connect(temporary + '/db') as c:\n    c.execute('create table t (a)')\n    c.execute('insert into t values (1)')\nreturn True",
    "sqlite in WAL mode": "import sqlite3\nc = sqlite3.connect(temporary + '/db')\nc.execute('pragma journal_mode=wal')\nc.execute('create table t (a)')\nc.commit()\nc.close()\nreturn True",
    "users and groups": "import pwd, os, getpass\nreturn pwd.getpwuid(os.getuid()).pw_name and getpass.getuser()",
    "about the machine": "import platform, os, sysconfig\nplatform.platform(), platform.freedesktop_os_release(), platform.libc_ver(), platform.processor()\nreturn os.cpu_count() and len(os.sched_getaffinity(0)) and os.getloadavg()",
    "files about itself": "import os\nopen('/proc/self/status').read(), open('/proc/self/maps').read(), open('/proc/self/cgroup').read(), os.listdir('/proc/self/fd'), os.readlink('/proc/self/exe')\nreturn open('/proc/meminfo').read() and open('/proc/cpuinfo').read() and open('/proc/stat').read()",
    "psutil": "import psutil, os\np = psutil.Process()\np.memory_info(), p.memory_full_info(), p.cpu_percent(), p.num_fds(), p.open_files(), p.threads()\nreturn psutil.virtual_memory().total and psutil.cpu_count() and psutil.disk_usage(temporary).free",
    "psutil of a child": "import psutil, os, signal\npid = os.fork()\nif not pid:\n    signal.pause()\nc = psutil.Process(pid)\nc.memory_full_info(), c.environ(), c.num_fds()\nc.kill()\nos.waitpid(pid, 0)\nreturn True",
    "threads": "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(4) as e:\n    return list(e.map(len, ['a', 'bb']))",
    "programs": "import subprocess\nreturn subprocess.run('echo hi | cat', shell=True, capture_output=True).stdout == b'hi\\n' and subprocess.check_output(['/bin/sh', '-c', 'cat > /dev/null < /dev/zero & kill $!; wait; echo x'])",
    "a script of its own": "import subprocess, sys\nopen(temporary + '/s.py', 'w').write('print(1)')\nreturn subprocess.check_output([sys.executable, temporary + '/s.py']) == b'1\\n'",
    "time zones": "import zoneinfo, datetime\nreturn datetime.datetime.now(zoneinfo.ZoneInfo('Europe/Berlin')).utcoffset()",
    "the local time": "import time\nreturn time.strftime('%Z')",
    "certificates": "import ssl\ncontext = ssl.create_default_context()\nreturn context.cert_store_stats()['x509_ca'] > 0",
    "certifi": "import ssl, certifi\nreturn ssl.create_default_context(cafile=certifi.where())",
    "names": "import socket\nreturn socket.getaddrinfo('localhost', 80) and socket.gethostname()",
    "types of files": "import mimetypes\nreturn mimetypes.guess_type('a.csv')[0]",
    "libraries of the system": "import ctypes, ctypes.util\nreturn ctypes.CDLL(ctypes.util.find_library('m') or 'libm.so.6')",
    "TCP": "import socket, threading\ns = socket.create_server(('127.0.0.1', 0))\nc = socket.create_connection(s.getsockname())\na, _ = s.accept()\nc.sendall(b'x')\nreturn a.recv(1) == b'x'",
    "UDP": "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('127.0.0.1', 0))\ns.sendto(b'x', s.getsockname())\nreturn s.recv(1) == b'x'",
    "asyncio": "import asyncio\nasync def main():\n    p = await asyncio.create_subprocess_exec('/bin/echo', 'hi', stdout=-1)\n    return (await p.communicate())[0] == b'hi\\n' and await asyncio.to_thread(len, 'ab') == 2\nreturn asyncio.run(main())",
    "random numbers": "import os, secrets\nopen('/dev/urandom', 'rb').read(4)\nreturn os.urandom(4) and secrets.token_hex()",
    "devices": "open('/dev/null', 'w').write('x')\nreturn open('/dev/zero', 'rb').read(1) == b'\\0'",
    "memory files": "import os, mmap\nfd = os.memfd_create('x')\nos.ftruncate(fd, 4096)\nm = mmap.mmap(fd, 4096)\nm[0] = 1\nreturn m[0]",
    "shared memory": "from multiprocessing.shared_memory import SharedMemory\nm = SharedMemory(create=True, size=64)\nm.buf[0] = 7\no = SharedMemory(m.name)\nr = o.buf[0] == 7\no.close()\nm.close()\nm.unlink()\nreturn r",
    "locks": "import multiprocessing as mp\nwith mp.Lock():\n    return mp.Value('i', 3).value",
    "processes by fork": "import multiprocessing as mp\nwith mp.get_context('fork').Pool(2) as p:\n    return p.map(len, ['a', 'bb']) == [1, 2]",
    "processes by spawn": "import multiprocessing as mp\nwith mp.get_context('spawn').Pool(2) as p:\n    return p.map(len, ['a', 'bb']) == [1, 2]",
    "processes by fork server": "import multiprocessing as mp\nwith mp.get_context('forkserver').Pool(2) as p:\n    return p.map(len, ['a', 'bb']) == [1, 2]",
    "an executor by fork server": "import multiprocessing as mp\nfrom concurrent.futures import ProcessPoolExecutor\nwith ProcessPoolExecutor(2, mp_context=mp.get_context('forkserver')) as p:\n    return list(p.map(len, ['a', 'bb'])) == [1, 2]",
    "a manager": "import multiprocessing as mp\nwith mp.get_context('fork').Manager() as m:\n    d = m.dict()\n    p = mp.get_context('fork').Process(target=d.__setitem__, args=('a', 1))\n    p.start()\n    p.join()\n    return dict(d) == {'a': 1}",
    "a manager by spawn": "import multiprocessing as mp\nwith mp.get_context('spawn').Manager() as m:\n    l = m.list([1])\n    l.append(2)\n    return list(l) == [1, 2]",
    "send a descriptor": "import multiprocessing as mp, os\nfrom multiprocessing import reduction\nctx = mp.get_context('fork')\nq = ctx.SimpleQueue()\n"
    "def child():\n    fd = os.memfd_create('x')\n    os.write(fd, b'hello')\n    q.put(reduction.DupFd(fd))\n    ev.wait()\n"
    "ev = ctx.Event()\np = ctx.Process(target=child)\np.start()\nfd = q.get().detach()\nev.set()\np.join()\nreturn os.pread(fd, 5, 0) == b'hello'",
    "send a connection": "import multiprocessing as mp\nctx = mp.get_context('fork')\na, b = ctx.Pipe(duplex=False)\nq = ctx.SimpleQueue()\n"
    "def child():\n    c = q.get()\n    c.send('hi')\np = ctx.Process(target=child)\np.start()\nq.put(b)\nr = a.recv() == 'hi'\np.join()\nreturn r",
    "many descriptors": "import multiprocessing as mp, os\nfrom multiprocessing import reduction\nctx = mp.get_context('fork')\nq = ctx.Queue()\n"
    "def child(n):\n    for i in range(20):\n        fd = os.memfd_create('x')\n        os.write(fd, b'%d' % n)\n        q.put(reduction.DupFd(fd))\n        os.close(fd)\n    ev.wait()\n"
    "ev = ctx.Event()\nps = [ctx.Process(target=child, args=(n,)) for n in range(3)]\n[p.start() for p in ps]\nfound = sorted(os.pread(q.get().detach(), 5, 0) for _ in range(60))\n"
    "ev.set()\n[p.join() for p in ps]\nreturn found == [b'0'] * 20 + [b'1'] * 20 + [b'2'] * 20",
    "numpy": "import numpy as np\nreturn float(np.linalg.svd(np.random.rand(50, 50))[1].sum())",
    "pandas": "import pandas as pd\nd = pd.DataFrame({'a': [1, 2]})\nd.to_parquet(temporary + '/a.parquet')\nreturn len(pd.read_parquet(temporary + '/a.parquet')) == 2 and str(pd.Timestamp.now('Europe/Berlin'))",
    "scikit-learn": "import numpy as np\nfrom sklearn.ensemble import RandomForestClassifier\nX = np.random.rand(50, 3)\nreturn len(RandomForestClassifier(5, n_jobs=2).fit(X, X[:, 0] > .5).predict(X)) == 50",
    "joblib": "import joblib\nreturn joblib.Parallel(2)(joblib.delayed(len)(x) for x in ['a', 'bb']) == [1, 2]",
    "joblib with large arrays": "import joblib, numpy as np\na = np.ones(2_000_000)\nreturn joblib.Parallel(2)(joblib.delayed(np.sum)(x) for x in [a, a]) == [2e6, 2e6]",
    "joblib's cache": "import joblib\nm = joblib.Memory(temporary + '/c', verbose=0)\nreturn m.cache(len)('abc') == 3 and m.cache(len)('abc') == 3",
    "matplotlib": "import matplotlib\nmatplotlib.use('agg')\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.title('x')\nplt.savefig(temporary + '/x.png')\nreturn True",
    "mlflow": "import mlflow.pyfunc\nreturn True",
}
