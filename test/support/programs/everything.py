"""
Holds one of everything that a reader of checkpoints should know, and says when it is ready (/tmp/ready); when it is
told to (/tmp/change) it changes, and says that it has (/tmp/changed).
"""

import ctypes
import mmap
import os
import select
import signal
import socket
import sys
import threading
import time

kept = []


def keep(thing):
    kept.append(thing)
    return thing


# TCP: one that listens, and both ends of a connection; IPv6 where there is any.
listening = keep(socket.create_server(("0.0.0.0", 7001)))
keep(socket.create_connection(("127.0.0.1", 7001)))
keep(listening.accept()[0])
keep(socket.create_server(("::1", 7002), family=socket.AF_INET6))
# UDP: bound, and connected.
udp = keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
udp.bind(("127.0.0.1", 7003))
connected = keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
connected.connect(("127.0.0.1", 7003))
# UNIX: by path, by abstract name, and a pair without names.
named = keep(socket.socket(socket.AF_UNIX))
named.bind("/tmp/named.sock")
named.listen()
abstract = keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
abstract.bind("\0abstract\0name")
kept.extend(socket.socketpair())
# Pipes, a fifo, events, timers.
keep(os.pipe())
os.mkfifo("/tmp/fifo")
keep(os.open("/tmp/fifo", os.O_RDWR))
keep(os.eventfd(42))
poll = keep(select.epoll())
poll.register(listening)
keep(os.timerfd_create(time.CLOCK_MONOTONIC))
libc = ctypes.CDLL(None, use_errno=True)
keep(libc.inotify_init())
keep(os.openpty())
# Files: one that is open for writing, one that was deleted, a memfd with text in it.
keep(open("/tmp/written", "w", buffering=1)).write("written\n")
deleted = keep(open("/tmp/deleted", "w+"))
deleted.write("deleted, and still here\n")
deleted.flush()
os.unlink("/tmp/deleted")
memfd = keep(os.memfd_create("secrets"))
os.write(memfd, b"kept in a memfd".ljust(8192, b"."))
memory = keep(mmap.mmap(memfd, 8192))
# Memory: shared, private, and one that nothing was ever written to.
shared = keep(mmap.mmap(-1, 65536))
shared[4096:4116] = b"kept in shared memory"[:20]
private = keep(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE))
private[0:9] = b"needle-42"
keep(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE))


def child(body):
    pid = os.fork()
    if pid == 0:
        body()
        os._exit(0)
    return pid


def named_child(name, body):
    def run():
        libc.prctl(15, name.encode())
        body()

    return child(run)


def sleep_for_ever():
    while True:
        time.sleep(3600)


# Children: one that has ended and was not waited for, one with a child of its own.
child(lambda: os._exit(3))
first = named_child("first", sleep_for_ever)
named_child("parent", lambda: (named_child("grandchild", sleep_for_ever), sleep_for_ever()))

for number in range(3):
    threading.Thread(target=sleep_for_ever, name=f"worker-{number}", daemon=True).start()
os.environ["LATER"] = "set after the start"
with open("/tmp/ready", "w") as ready:
    ready.write(" ".join(sys.argv[1:]))

# When it is told to it becomes another: a child more and one less, files and sockets, memory.
while not os.path.exists("/tmp/change"):
    time.sleep(0.1)
named_child("late", sleep_for_ever)
os.kill(first, signal.SIGKILL)
os.waitpid(first, 0)
udp.close()
keep(open("/tmp/later", "w"))
keep(socket.create_server(("127.0.0.1", 7004)))
private[0:9] = b"needle-43"
private[65536:65545] = b"needle-44"
os.rename("/tmp/change", "/tmp/changed")
sleep_for_ever()
