"""How long things take on the way to the API server, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """Times in seconds.

    A connection must stand after `connect`; an answer must begin, and go on, after `answer`. The server ends a watch
    after `shortest_watch` to `longest_watch`. A watch is dead if it says nothing for `bookmarks` (the server sends one
    a minute) once there was one, or for `grace` after its time. One that broke after `steady` is no failure, one that
    ends before `pointless` is one. After more than `resumable` without a word the list is read again (etcd is compacted
    every five minutes, so that the past is gone anyway). A resource that is not there is looked for every `absent`.
    Waits after failures grow from `first_wait` to `longest_wait`.
    """

    connect: float = 10.0
    answer: float = 60.0
    shortest_watch: float = 300.0
    longest_watch: float = 600.0
    bookmarks: float = 150.0
    grace: float = 30.0
    steady: float = 10.0
    pointless: float = 0.5
    resumable: float = 300.0
    absent: float = 600.0
    first_wait: float = 1.0
    longest_wait: float = 30.0


PACE = Pace()
