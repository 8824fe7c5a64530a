"""Attempts to leave the sandbox, made from inside: one table for the contract suite and for the figure of it.

An attempt is a few lines of Python that run in a process of their own in the container. An OSError with one of the
errors it names is a refusal; going through is a hole; anything else is an attempt that does not work, which fails too.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from repro_tui.engines.base import Mount


@dataclass(frozen=True, slots=True)
class Attempt:
    """One way out; `unless` is a (capability, words) with which an engine says that it cannot refuse it here."""

    name: str
    code: str
    errors: tuple[str, ...]
    unless: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an attempt: refused with an error's name, or not; `text` says what happened."""

    refused: bool
    error: str
    text: str


_NO = ("EPERM", "EACCES")
_READ_ONLY = ("EROFS", "EACCES", "EPERM")
_GONE = ("ENOENT", "ENOTDIR", "EACCES", "EPERM")
_NO_SUCH_CALL = ("EPERM", "ENOSYS")
_NO_SUCH_PROCESS = ("ESRCH", "EPERM")
_NAMESPACES = ("user", "its own user namespace")
_SECCOMP = ("user", "no seccomp")
_VSOCK = ("network", "AF_VSOCK")

ATTEMPTS = (
    # The network, and what is reached like one.
    Attempt("connect to another machine", "connect(('192.0.2.1', 80))", ("ENETUNREACH",)),
    Attempt("send a datagram to another machine", "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))", ("ENETUNREACH",)),
    Attempt("connect to a service of the host's loopback", "connect(('127.0.0.1', host['port']))", ("ECONNREFUSED",)),
    Attempt("connect to an abstract socket of the host", "socket.socket(socket.AF_UNIX).connect('\\0' + host['abstract'])", ("ECONNREFUSED",)),
    Attempt("connect to the machine below, as a virtual one can", "socket.socket(40, socket.SOCK_STREAM)", (*_NO_SUCH_CALL, "EAFNOSUPPORT"), _VSOCK),
    Attempt("open a raw socket", "socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)", _NO),
    Attempt("open a packet socket", "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", _NO),
    Attempt("set up a network interface", "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH22x', b'lo', 1))", _NO),
    Attempt("connect to an engine's or the system's socket", """
first_of(connect_unix, ["/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock", *glob.glob("/run/user/*/podman/podman.sock"),
    "/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/dbus/system_bus_socket", "/run/systemd/private", host["engine"]])""", _GONE),
    # Files: the host's, other users', the image's, the inputs.
    Attempt("read a file of the host", "open(host['secret'])", _GONE),
    Attempt("read a file of the host through the first process's root", "open('/proc/1/root' + host['secret'])", _GONE),
    Attempt("read a file of the host by its number", """
call("open_by_handle_at", os.open("/", os.O_RDONLY), struct.pack("IiII", 8, 1, 2, 0), os.O_RDONLY)""", _NO),
    Attempt("read another user's file in an input", "open('/inputs/private')", _NO),
    Attempt("write a file of the image", "write('/etc/passwd')", _READ_ONLY),
    Attempt("make a file in the root", "write('/x')", _READ_ONLY),
    Attempt("make a file among the programs", "write('/usr/bin/python-of-mine')", _READ_ONLY),
    Attempt("make a file in the home", "write('/home/repro/.profile')", _READ_ONLY),
    Attempt("make a folder in the root", "os.mkdir('/new')", _READ_ONLY),
    Attempt("remove a file of the image", "os.unlink('/etc/passwd')", _READ_ONLY),
    Attempt("change the mode of a file of the image", "os.chmod('/etc/passwd', 0o666)", _READ_ONLY),
    Attempt("write an input", "write('/inputs/data/file')", _READ_ONLY),
    Attempt("make a file beside an input", "write('/inputs/data/other')", _READ_ONLY),
    Attempt("remove an input", "os.unlink('/inputs/data/file')", _READ_ONLY),
    Attempt("change the mode of an input", "os.chmod('/inputs/data/file', 0o777)", _READ_ONLY),
    Attempt("give a file to root", "write('/out/mine'); os.chown('/out/mine', 0, 0)", ("EPERM", "EINVAL")),
    # Mounts.
    Attempt("mount a file system", "call('mount', b'none', b'/tmp', b'tmpfs', 0, None)", _NO),
    Attempt("mount another /proc", "call('mount', b'proc', b'/tmp', b'proc', 0, None)", _NO),
    Attempt("bind a folder elsewhere", "call('mount', b'/proc', b'/tmp', None, 4096, None)", _NO),
    Attempt("make the root writable", "call('mount', None, b'/', None, 32 | 4096, None)", _NO),
    Attempt("make an input writable", "call('mount', None, b'/inputs/data', None, 32 | 4096, None)", _NO),
    Attempt("unmount what covers the root", "call('umount2', b'/tmp', 2)", _NO),
    Attempt("open a file system with the newer calls", "system_call('fsopen', b'tmpfs', 0)", _NO_SUCH_CALL),
    Attempt("copy a mount with the newer calls", "system_call('open_tree', -100, b'/', 1)", _NO_SUCH_CALL),
    Attempt("change the root folder", "os.chroot('/tmp')", _NO),
    Attempt("exchange the root folder", "system_call('pivot_root', b'/tmp', b'/tmp')", _NO),
    # Devices.
    Attempt("make a disk's device", "os.mknod('/tmp/disk', 0o60600, os.makedev(8, 0))", _NO),
    Attempt("make the memory's device", "os.mknod('/tmp/memory', 0o20600, os.makedev(1, 1))", _NO),
    Attempt("open a disk", "first_of(open, ['/dev/sda', '/dev/vda', '/dev/xvda', '/dev/nvme0n1', '/dev/dm-0', '/dev/loop0'])", _GONE),
    Attempt("open the memory", "first_of(open, ['/dev/mem', '/dev/kmem', '/dev/port'])", _GONE),
    Attempt("open a device that serves the host", "first_of(open, ['/dev/kvm', '/dev/fuse', '/dev/net/tun', '/dev/loop-control', '/dev/uinput', '/dev/vhost-vsock'])", _GONE),
    Attempt("make a file among the devices", "write('/dev/x')", _READ_ONLY),
    Attempt("type into the caller's terminal", """
first_of(lambda terminal: fcntl.ioctl(terminal, 0x5412, b"x"), [0, 1, 2])""", ("ENOTTY", "EPERM", "EIO", "EINVAL")),
    # Powers.
    Attempt("become root", "os.setuid(0)", ("EPERM", "EINVAL")),
    Attempt("become root's group", "os.setgid(0)", ("EPERM", "EINVAL")),
    Attempt("join another group", "os.setgroups([0])", _NO),
    Attempt("take every capability", "call('capset', struct.pack('II', 0x20080522, 0), b'\\xff' * 24)", _NO),
    Attempt("become root by a set-user-ID program", """
before, after = os.getuid(), int(subprocess.run(["/usr/bin/set-user-id", "-u"], capture_output=True, check=True).stdout)
if before == after: raise PermissionError(errno.EPERM, "it ran as the same user")""", _NO),
    Attempt("make a user namespace", "call('unshare', 0x10000000)", (*_NO_SUCH_CALL, "ENOSPC"), _NAMESPACES),
    Attempt("start a process in a user namespace", """
if system_call("clone", 0x10000000 | 17, 0, 0, 0, 0) == 0: os._exit(0)""", (*_NO_SUCH_CALL, "ENOSPC"), _NAMESPACES),
    Attempt("make a mount namespace", "call('unshare', 0x00020000)", _NO),
    Attempt("make a network namespace", "call('unshare', 0x40000000)", _NO),
    Attempt("enter the first process's namespaces", "call('setns', os.open('/proc/1/ns/mnt', os.O_RDONLY), 0)", _NO),
    Attempt("be root in its own user namespace", "write('/proc/self/uid_map', b'0 0 1')", _NO),
    Attempt("raise its priority", "os.setpriority(os.PRIO_PROCESS, 0, -20)", _NO),
    Attempt("run in real time", "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))", _NO),
    Attempt("raise a hard limit", "call('setrlimit', 4, struct.pack('LL', 2**64 - 1, 2**64 - 1))", _NO),
    Attempt("be spared when memory runs out", "write('/proc/self/oom_score_adj', b'-1000')", _NO),
    Attempt("change its own limits", """
first_of(open_to_write, [path for name in ("memory.limit_in_bytes", "memory.max", "pids.max", "cgroup.procs")
    for path in glob.glob("/sys/fs/cgroup/" + name) + glob.glob("/sys/fs/cgroup/*/" + name)] or ["/sys/fs/cgroup/cgroup.procs"])""", (*_READ_ONLY, "ENOENT")),
    Attempt("have the host run a program when a control group ends", """
first_of(open_to_write, glob.glob("/sys/fs/cgroup/*/release_agent") or ["/sys/fs/cgroup/memory/release_agent"])""", (*_READ_ONLY, "ENOENT")),
    # Processes of the host.
    Attempt("see a process of the host", """
for folder in glob.glob("/proc/[1-9]*"):
    if host["mark"].encode() in open(folder + "/cmdline", "rb").read(): break
else: raise ProcessLookupError(errno.ESRCH, "it is not in /proc")""", _NO_SUCH_PROCESS),
    Attempt("signal a process of the host", "os.kill(of_the_host(), 0)", _NO_SUCH_PROCESS),
    Attempt("trace a process of the host", "call('ptrace', 16, of_the_host(), 0, 0)", _NO_SUCH_PROCESS),
    Attempt("read the memory of a process of the host", """
place = ctypes.create_string_buffer(8)
call("process_vm_readv", of_the_host(), *[struct.pack("PL", ctypes.addressof(place), 8), 1] * 2, 0)""", _NO_SUCH_PROCESS),
    Attempt("hold a process of the host", "system_call('pidfd_open', of_the_host(), 0)", (*_NO_SUCH_PROCESS, "ENOSYS")),
    Attempt("attach the host's shared memory (System V)", "call('shmget', host['key'], 1, 0)", ("ENOENT",)),
    Attempt("open the host's shared memory (POSIX)", "open('/dev/shm/' + host['shared'])", ("ENOENT",)),
    # The kernel.
    Attempt("change a kernel setting", "open_to_write('/proc/sys/vm/overcommit_memory')", _READ_ONLY),
    Attempt("have the host run a program at a crash", "open_to_write('/proc/sys/kernel/core_pattern')", _READ_ONLY),
    Attempt("press the magic keys", "open_to_write('/proc/sysrq-trigger')", (*_READ_ONLY, "ENOENT")),
    Attempt("change a setting of the kernel's objects", """
first_of(open_to_write, ["/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/uevent_helper", "/sys/power/state"])""", (*_READ_ONLY, "ENOENT")),
    Attempt("rename the machine", "call('sethostname', b'mine', 4)", _NO),
    Attempt("set the clock", "time.clock_settime(time.CLOCK_REALTIME, time.time())", _NO),
    Attempt("restart the machine", "system_call('reboot', 0xfee1dead, 672274793, 0, 0)", _NO),  # 0: the harmless one
    Attempt("add swap", "write('/tmp/swap'); call('swapon', b'/tmp/swap', 0)", _NO),
    Attempt("load a kernel module", "system_call('init_module', b'x', 1, b'')", _NO_SUCH_CALL),
    Attempt("load another kernel", "system_call('kexec_load', 0, 0, None, 0)", _NO_SUCH_CALL),
    Attempt("load a program into the kernel", "system_call('bpf', 0, struct.pack('IIIII', 2, 4, 4, 1, 0) + bytes(100), 120)", _NO_SUCH_CALL, _SECCOMP),
    Attempt("watch every process's events", "system_call('perf_event_open', struct.pack('II', 1, 112) + bytes(104), -1, 0, -1, 0)", ("EPERM", "EACCES", "ENOSYS"), _SECCOMP),
    Attempt("stop the kernel at a page of its own", "os.close(system_call('userfaultfd', 1))", _NO_SUCH_CALL, _SECCOMP),
    Attempt("put a key into the user's keyring", "system_call('add_key', b'user', b'repro-tui', b'x', 1, -4)", _NO_SUCH_CALL, _SECCOMP),
    Attempt("read the user's keyring", "system_call('keyctl', 0, -4, 0)", _NO_SUCH_CALL, _SECCOMP),
    Attempt("read the kernel's messages", "call('klogctl', 3, ctypes.create_string_buffer(64), 64)", _NO, _SECCOMP),
    Attempt("read the kernel's messages from a file", "first_of(open, ['/dev/kmsg', '/proc/kmsg'])", _GONE),
    Attempt("read the kernel's memory", """
if not open("/proc/kcore", "rb").read(4): raise FileNotFoundError(errno.ENOENT, "it is covered")""", _GONE),
)  # fmt: skip

RUNNER = r"""
import ctypes, errno, fcntl, glob, json, os, platform, signal, socket, struct, subprocess, sys, time
given = json.load(open("/inputs/attempts.json"))
host = given["host"]
libc = ctypes.CDLL(None, use_errno=True)
numbers = {
    "x86_64": {"clone": 56, "pivot_root": 155, "reboot": 169, "init_module": 175, "kexec_load": 246, "add_key": 248,
        "keyctl": 250, "perf_event_open": 298, "bpf": 321, "userfaultfd": 323},
    "aarch64": {"clone": 220, "pivot_root": 41, "reboot": 142, "init_module": 105, "kexec_load": 104, "add_key": 217,
        "keyctl": 219, "perf_event_open": 241, "bpf": 280, "userfaultfd": 282},
}[platform.machine()] | {"open_tree": 428, "fsopen": 430, "pidfd_open": 434}
def checked(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def call(name, *arguments):
    return checked(getattr(libc, name)(*arguments))
def system_call(name, *arguments):
    return checked(libc.syscall(numbers[name], *[ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]))
def open_to_write(path):
    os.close(os.open(path, os.O_WRONLY))
def write(path, data=b"x"):
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(file, data)
def connect(address):
    with socket.socket() as client:
        client.settimeout(3)
        client.connect(address)
def connect_unix(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
def first_of(action, things):
    # Goes through when one of them does; else raises what the last one said.
    for position, thing in enumerate(things):
        try:
            return action(thing)
        except OSError:
            if position == len(things) - 1:
                raise
def of_the_host():
    # A process id of the host that happens to be one in here too names another process.
    if os.path.exists("/proc/%d" % host["pid"]) and host["mark"].encode() not in open("/proc/%d/cmdline" % host["pid"], "rb").read():
        raise ProcessLookupError(errno.ESRCH, "there is another process of that number")
    return host["pid"]
answers = {}
for name, code in given["attempts"]:
    end, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        error, text = "", "went through"
        try:
            exec(code, dict(globals()))
        except OSError as refusal:
            error, text = errno.errorcode.get(refusal.errno, str(refusal.errno)), str(refusal)
        except BaseException as broken:
            error, text = "broken", repr(broken)
        os.write(writer, json.dumps([error, text]).encode())
        os._exit(0)
    os.close(writer)
    with open(end, "rb") as file:
        said = file.read()
    status = os.waitpid(pid, 0)[1]
    answers[name] = json.loads(said) if said else ["broken", "wait status %d" % status]
print(json.dumps(answers))
"""


@contextmanager
def targets(folder: Path, engine_socket: str) -> Iterator[list[Mount]]:
    """Put things on the host that an attempt would find if it got out; yield the mounts that a container needs."""
    data, secret, private = folder / "data", folder / "secret", folder / "private"
    data.mkdir()
    (data / "file").write_text("pinned")
    data.chmod(0o777)
    (data / "file").chmod(0o666)
    secret.write_text("the host's")
    if os.geteuid() == 0:
        private.write_text("another user's")
        private.chmod(0o600)
        os.chown(private, 12345, 12345)
    else:
        private = Path("/etc/shadow")
    mark = f"{10**6 + os.getpid()}.{time.monotonic_ns()}"
    shared = Path(f"/dev/shm/repro-tui-test-{mark}")
    shared.write_text("the host's")
    key = os.getpid()
    libc = ctypes.CDLL(None)
    segment = libc.shmget(key, 4096, 0o1666)
    sleeper = subprocess.Popen(["sleep", mark])
    try:
        with socket.socket() as server, socket.socket(socket.AF_UNIX) as local:
            server.bind(("127.0.0.1", 0))
            server.listen()
            local.bind(f"\0repro-tui-test-{mark}")
            local.listen()
            host = {
                "port": server.getsockname()[1], "abstract": f"repro-tui-test-{mark}", "engine": engine_socket, "secret": str(secret),
                "mark": mark, "pid": sleeper.pid, "key": key, "shared": shared.name,
            }  # fmt: skip
            attempts = folder / "attempts.json"
            attempts.write_text(json.dumps({"host": host, "attempts": [(each.name, each.code) for each in ATTEMPTS]}))
            attempts.chmod(0o644)
            yield [
                Mount(data, "/inputs/data"),
                Mount(private, "/inputs/private"),
                Mount(attempts, "/inputs/attempts.json"),
            ]
        assert (data / "file").read_text() == "pinned"
        assert sleeper.poll() is None
    finally:
        sleeper.kill()
        sleeper.wait()
        libc.shmctl(segment, 0, None)
        shared.unlink()


def judge(attempt: Attempt, said: list[str]) -> Answer:
    """Say whether it was refused: by one of the errors that mean it, and no other."""
    error, text = said
    return Answer(error in attempt.errors, error, text)
