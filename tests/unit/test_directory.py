"""A folder of manifests that is watched: what is in it, what changes, and what stays when something cannot be read."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from nftsvc.errors import ObjectRef, Problem
from nftsvc.events import Put, Removed, Replaced
from nftsvc.objects import KINDS, KubernetesObject
from nftsvc.sources.directory import EMPTY, Content, DirectorySource, difference, everything, read
from nftsvc.sources.source import Batch
from nftsvc.state import State
from tests.support.builders import Raw, decoded, service

DEADLINE = 60.0


def web(number: int, port: int = 80) -> Raw:
    return service(f"web-{number}", [f"10.96.{number // 250}.{number % 250 + 1}"], [{"port": port}])


def yaml(*raws: object) -> str:
    return "\n---\n".join(json.dumps(one) for one in raws)


def write(path: Path, *raws: object) -> None:
    """Write a manifest the way careful programs do: elsewhere, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(yaml(*raws))
    fresh.rename(path)


def names(content: Content) -> set[str]:
    return {ref.name for ref in content.objects}


def ports(content: Content) -> dict[str, int]:
    return {ref.name: port_of(one) for ref, one in content.objects.items()}


def port_of(one: KubernetesObject) -> int:
    spec: Any = getattr(one, "spec", None)
    return int(spec.ports[0].port)


def ref(number: int) -> ObjectRef:
    return ObjectRef("Service", "shop", f"web-{number}")


def messages(problems: tuple[Problem, ...]) -> list[str]:
    return list(map(str, problems))


# Reading --------------------------------------------------------------------------------------------------------------


def test_everything_below_the_folder_is_read(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", web(1))
    write(tmp_path / "deep" / "er" / "b.json", web(2))
    write(tmp_path / "c.yml", {"apiVersion": "v1", "kind": "List", "items": [web(3), web(4)]})
    write(tmp_path / ".hidden.yaml", web(5))
    write(tmp_path / ".git" / "d.yaml", web(6))
    write(tmp_path / "notes.txt", web(7))
    write(tmp_path / "other.yaml", {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}})
    content = read(tmp_path)
    assert names(content) == {"web-1", "web-2", "web-3", "web-4"}
    assert not content.problems


def test_an_empty_folder_is_a_cluster_without_anything(tmp_path: Path) -> None:
    content = read(tmp_path)
    assert not content.problems
    assert everything(content) == tuple(Replaced(kind, ()) for kind in KINDS)


def test_a_folder_that_is_not_there_is_no_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        read(tmp_path / "file")


def test_only_what_has_changed_is_read_again(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.yaml", web(number))
    first = read(tmp_path)
    write(tmp_path / "1.yaml", web(1, 81))
    second = read(tmp_path, first)
    same = [path.name for path in second.files if second.files[path] is first.files[path]]
    assert same == ["0.yaml", "2.yaml"]
    assert difference(first, second) == (Put(decoded(web(1, 81))),)
    assert all(
        now is before for now, before in zip(read(tmp_path, second).files.values(), second.files.values(), strict=True)
    )


def test_a_file_written_anew_with_the_same_in_it_is_no_event(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", web(1), web(2))
    first = read(tmp_path)
    write(tmp_path / "a.yaml", web(2), web(1))
    assert difference(first, read(tmp_path, first)) == ()


def test_a_file_of_the_same_size_and_age_is_not_the_same(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(yaml(web(1, 80)))
    first, age = read(tmp_path), file.stat()
    file.write_text(yaml(web(1, 81)))
    os.utime(file, ns=(age.st_atime_ns, age.st_mtime_ns))
    assert ports(read(tmp_path, first)) == {"web-1": 81}


def test_two_thousand_files(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"{number:04}.json").write_text(json.dumps(web(number)))
    content = read(tmp_path)
    assert len(content.objects) == 2000
    assert not content.problems
    (tmp_path / "0777.json").write_text(json.dumps(web(777, 8080)))
    (tmp_path / "0778.json").unlink()
    later = read(tmp_path, content)
    assert difference(content, later) == (Removed(ref(778)), Put(decoded(web(777, 8080))))
    assert sum(later.files[path] is not content.files[path] for path in later.files) == 1


# What cannot be read --------------------------------------------------------------------------------------------------

BAD: list[tuple[str, list[object]]] = [
    ("a port", [{**web(1), "spec": {**web(1)["spec"], "ports": [{"port": 99999}]}}]),
    ("a name that is a number", [{**web(1), "metadata": {"name": 7, "namespace": "shop"}}]),
    ("no name", [{**web(1), "metadata": {"namespace": "shop"}}]),
    ("a version", [{**web(1), "apiVersion": "v2"}]),
    ("no kind", [{key: value for key, value in web(1).items() if key != "kind"}]),
    ("a word", ["Service"]),
]


@pytest.mark.parametrize(("name", "bad"), BAD, ids=[name for name, _ in BAD])
def test_an_object_that_turns_bad_stays_as_it_was(tmp_path: Path, name: str, bad: list[object]) -> None:
    del name
    write(tmp_path / "a.yaml", web(1), web(2))
    first = read(tmp_path)
    write(tmp_path / "a.yaml", *bad, web(2, 81))
    second = read(tmp_path, first)
    assert ports(second) == {"web-1": 80, "web-2": 81}
    assert second.problems
    assert read(tmp_path, second).problems == second.problems, "it is still bad"
    write(tmp_path / "a.yaml", web(2, 82))
    assert ports(read(tmp_path, second)) == {"web-2": 82}


def test_settings_without_a_name_that_turn_bad_stay_as_they_were(tmp_path: Path) -> None:
    good: Raw = {"apiVersion": "nftsvc/v1", "kind": "NodeConfiguration", "spec": {"masqueradeAll": True}}
    write(tmp_path / "a.yaml", good)
    first = read(tmp_path)
    write(tmp_path / "a.yaml", {**good, "spec": {"masqueradeAl": True}})
    second = read(tmp_path, first)
    assert second.objects == first.objects
    assert second.problems


@pytest.mark.parametrize("cut", [1, 40, 150, 220])
def test_a_file_caught_half_written_takes_nothing_away(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "a.json"
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [web(1), web(2)]})
    file.write_text(text)
    first = read(tmp_path)
    file.write_text(text[:cut])
    second = read(tmp_path, first)
    assert second.objects == first.objects
    assert len(second.problems) == 1
    file.write_text(text)
    third = read(tmp_path, second)
    assert not third.problems
    assert difference(first, third) == ()


def test_a_file_that_was_never_good_gives_what_is_good_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(f"{yaml(web(1))}\n---\n{{ not yaml\n")
    content = read(tmp_path)
    assert names(content) == {"web-1"}
    (problem,) = content.problems
    assert str(tmp_path / "a.yaml") in str(problem)


def test_a_bad_file_that_is_removed_takes_with_it_what_was_known_of_it(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", web(1))
    first = read(tmp_path)
    (tmp_path / "a.yaml").write_text("{")
    second = read(tmp_path, first)
    (tmp_path / "a.yaml").unlink()
    third = read(tmp_path, second)
    assert difference(second, third) == (Removed(ref(1)),)
    assert not third.problems


@contextmanager
def somebody_else() -> Iterator[Path]:
    """Be a user who may not read everything; yield a folder that this user may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        os.seteuid(65534)
        yield folder
    finally:
        os.seteuid(0)
        shutil.rmtree(folder)


def as_owner(change: Callable[[], object]) -> None:
    os.seteuid(0)
    try:
        change()
    finally:
        os.seteuid(65534)


def test_a_file_that_may_not_be_read_is_read_once_it_may() -> None:
    with somebody_else() as folder:
        file = folder / "a.yaml"
        as_owner(lambda: (write(file, web(1)), file.chmod(0o600)))
        first = read(folder)
        assert not first.objects
        assert "cannot be read: Permission denied" in messages(first.problems)[0]
        as_owner(lambda: file.chmod(0o644))
        second = read(folder, first)
        assert names(second) == {"web-1"}
        as_owner(lambda: file.chmod(0o600))
        third = read(folder, second)
        assert names(third) == {"web-1"}
        assert third.problems


def test_what_is_in_a_subfolder_that_may_not_be_listed_stays_as_it_was() -> None:
    with somebody_else() as folder:
        as_owner(lambda: (write(folder / "sub" / "a.yaml", web(1)), write(folder / "b.yaml", web(2))))
        first = read(folder)
        for mode in (0o000, 0o711):
            as_owner(lambda mode=mode: (folder / "sub").chmod(mode))  # type: ignore[misc]
            second = read(folder, first)
            assert names(second) == {"web-1", "web-2"}
            assert str(folder / "sub") in messages(second.problems)[0]
        as_owner(lambda: (folder / "sub").chmod(0o755))
        assert not read(folder, second).problems
        as_owner(lambda: shutil.rmtree(folder / "sub"))
        assert names(read(folder, second)) == {"web-2"}


def test_a_link_that_leads_nowhere_is_told_and_read_once_it_leads_somewhere(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "a.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    (folder / "b.yaml").symlink_to("b.yaml")
    first = read(folder)
    assert len(first.problems) == 2
    write(tmp_path / "elsewhere.yaml", web(1))
    second = read(folder, first)
    assert names(second) == {"web-1"}
    (tmp_path / "elsewhere.yaml").unlink()
    third = read(folder, second)
    assert names(third) == {"web-1"}
    assert len(third.problems) == 2


def test_a_file_that_becomes_a_folder_is_gone(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", web(1))
    first = read(tmp_path)
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "a.yaml").mkdir()
    assert not read(tmp_path, first).objects


# Twice ----------------------------------------------------------------------------------------------------------------


def test_of_an_object_in_two_files_the_first_counts_until_it_goes(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", web(1, 80))
    write(tmp_path / "b.yaml", web(1, 81), web(2))
    first = read(tmp_path)
    assert ports(first) == {"web-1": 80, "web-2": 80}
    (problem,) = first.problems
    assert problem.ref == ref(1)
    assert str(tmp_path / "b.yaml") in problem.message
    assert str(tmp_path / "a.yaml") in problem.message
    (tmp_path / "a.yaml").unlink()
    second = read(tmp_path, first)
    assert difference(first, second) == (Put(decoded(web(1, 81))),)
    assert not second.problems
    write(tmp_path / "a.yaml", web(1, 80))
    assert difference(second, read(tmp_path, second)) == (Put(decoded(web(1, 80))),)


def test_an_object_that_moves_to_another_file_is_never_gone(tmp_path: Path) -> None:
    write(tmp_path / "b.yaml", web(1))
    first = read(tmp_path)
    (tmp_path / "b.yaml").rename(tmp_path / "a.yaml")
    second = read(tmp_path, first)
    assert not [one for one in difference(first, second) if isinstance(one, Removed)]
    assert ports(second) == {"web-1": 80}


def test_differences_lead_from_one_state_to_the_other(tmp_path: Path) -> None:
    state, content = State(), EMPTY
    for step in range(12):
        for number in range(4):
            path = tmp_path / f"{number}.yaml"
            match (step * 7 + number * 5) % 4:
                case 0:
                    path.unlink(missing_ok=True)
                case 1:
                    write(path, web(number, 80 + step), web(number + 1, 90))
                case 2:
                    path.write_text("{ bad")
                case _:
                    write(path, web(step % 3, 80))
        new = read(tmp_path, content)
        for one in difference(content, new):
            state.apply(one)
        content = new
        assert {one.ref: one for one in state.services.values()} == content.objects


# Watching -------------------------------------------------------------------------------------------------------------


class Told:
    """What a source has told, as a state."""

    def __init__(self) -> None:
        self.state = State()
        self.batches: list[Batch] = []
        self.broke: list[str] = []
        self.works = False

    def deliver(self, batch: Batch) -> None:
        self.works = True
        self.batches.append(batch)
        for one in batch.events:
            self.state.apply(one)

    def broken(self, source: str, reason: str) -> None:
        assert source == "manifests"
        self.works = False
        self.broke.append(reason)

    @property
    def ports(self) -> dict[str, int]:
        return {key.name: port_of(one) for key, one in self.state.services.items()}

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not holds():  # noqa: ASYNC110 - what is waited for is the file system's doing
                await asyncio.sleep(0.005)

    async def shows(self, **wanted: int) -> None:
        await self.until(lambda: self.works and self.ports == {f"web-{key[1:]}": one for key, one in wanted.items()})


@asynccontextmanager
async def watching(folder: Path) -> AsyncIterator[Told]:
    told = Told()
    task = asyncio.create_task(DirectorySource(folder).run(told))
    try:
        yield told
    finally:
        task.cancel()
        async with asyncio.timeout(DEADLINE):
            await asyncio.wait([task])
        assert task.cancelled(), task.exception()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


def test_first_what_there_is_then_what_changes(tmp_path: Path) -> None:
    async def test() -> None:
        write(tmp_path / "a.yaml", web(1), web(2))
        async with watching(tmp_path) as told:
            await told.shows(_1=80, _2=80)
            assert [type(one) for one in told.batches[0].events] == [Replaced] * len(KINDS)
            assert told.batches[0].objects == 2
            write(tmp_path / "a.yaml", web(1, 81))
            await told.shows(_1=81)
            assert set(map(type, told.batches[1].events)) == {Put, Removed}
            write(tmp_path / "sub" / "deep" / "b.yaml", web(3))
            await told.shows(_1=81, _3=80)
            write(tmp_path / "sub" / "deep" / "b.yaml", web(3, 81))
            await told.shows(_1=81, _3=81)
            shutil.rmtree(tmp_path / "sub")
            await told.shows(_1=81)
            (tmp_path / "a.yaml").unlink()
            await told.shows()
            assert not told.broke

    run(test)


def test_what_changes_nothing_is_not_told(tmp_path: Path) -> None:
    async def test() -> None:
        write(tmp_path / "a.yaml", web(1))
        async with watching(tmp_path) as told:
            await told.shows(_1=80)
            write(tmp_path / "notes.txt", "nothing")
            write(tmp_path / "a.yaml", web(1))
            write(tmp_path / ".hidden" / "b.yaml", web(9))
            write(tmp_path / "b.yaml", web(2))
            await told.shows(_1=80, _2=80)
            assert sum(bool(one.events) for one in told.batches) == len(told.batches) <= 3

    run(test)


def test_a_file_that_turns_bad_is_told_and_so_is_that_it_is_good_again(tmp_path: Path) -> None:
    async def test() -> None:
        write(tmp_path / "a.yaml", web(1))
        async with watching(tmp_path) as told:
            await told.shows(_1=80)
            (tmp_path / "a.yaml").write_text("{ bad")
            await told.until(lambda: told.batches[-1].problems)
            assert told.ports == {"web-1": 80}
            assert not told.broke, "the source works; it is a file that does not"
            write(tmp_path / "a.yaml", web(1))
            await told.until(lambda: not told.batches[-1].problems)
            assert told.ports == {"web-1": 80}

    run(test)


def test_a_writer_in_the_middle_of_a_file_is_waited_for(tmp_path: Path) -> None:
    """The file is valid at every step, with ever more in it, and is seen once its writer is quiet."""

    async def test() -> None:
        write(tmp_path / "a.yaml", *map(web, range(20)))
        whole = {f"_{number}": 80 for number in range(20)}
        async with watching(tmp_path) as told:
            await told.shows(**whole)
            with (tmp_path / "a.yaml").open("w") as file:
                for number in range(20):
                    file.write(f"---\n{yaml(web(number))}\n")
                    file.flush()
            write(tmp_path / "b.yaml", web(30))
            await told.shows(**whole, _30=80)
            assert not [one for batch in told.batches for one in batch.events if isinstance(one, Removed)]

    run(test)


@pytest.mark.parametrize("how", ["removed", "moved away", "emptied, then removed"])
def test_a_folder_that_goes_leaves_what_was_known_and_may_come_back(tmp_path: Path, how: str) -> None:
    async def test() -> None:
        folder = tmp_path / "m"
        write(folder / "a.yaml", web(1))
        write(folder / "b.yaml", web(2))
        async with watching(folder) as told:
            await told.shows(_1=80, _2=80)
            if how == "moved away":
                folder.rename(tmp_path / "n")
            else:
                if how == "emptied, then removed":
                    (folder / "a.yaml").unlink()
                    await told.shows(_2=80)
                folder.rename(tmp_path / "n") if how == "removed" else shutil.rmtree(folder)
            await told.until(lambda: told.broke)
            assert told.broke[0] == f"{folder}: No such file or directory"
            assert "web-2" in told.ports
            write(folder / "b.yaml", web(2, 82))
            await told.shows(_2=82)
            write(folder / "c.yaml", web(3))
            await told.shows(_2=82, _3=80)

    run(test)


@pytest.mark.parametrize("relative", [False, True])
def test_a_folder_that_is_made_anew_at_once_is_watched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    """The new folder may well get the number (inode) of the old one."""

    async def test() -> None:
        folder = tmp_path / "m"
        write(folder / "a.yaml", web(1))
        monkeypatch.chdir(tmp_path)
        async with watching(Path("m") if relative else folder) as told:
            await told.shows(_1=80)
            for step in range(3):
                shutil.rmtree(folder)
                write(folder / "a.yaml", web(1, 90 + step))
                await told.shows(_1=90 + step)
                write(folder / "b.yaml", web(2, 90 + step))
                await told.shows(_1=90 + step, _2=90 + step)
                (folder / "b.yaml").unlink()
                await told.shows(_1=90 + step)

    run(test)


def test_a_folder_may_come_later(tmp_path: Path) -> None:
    async def test() -> None:
        folder = tmp_path / "m"
        async with watching(folder) as told:
            await told.until(lambda: told.broke)
            assert not told.batches
            write(folder / "a.yaml", web(1))
            await told.shows(_1=80)
            assert isinstance(told.batches[0].events[0], Replaced)

    run(test)


def test_a_config_map_that_is_swapped_is_seen_as_a_whole(tmp_path: Path) -> None:
    """As kubelet does it: files are links into ..data, which is a link to a folder, which is swapped by renaming."""

    def swap(version: int, *raws: Raw) -> None:
        folder = tmp_path / f"..{version}"
        for raw in raws:
            write(folder / f"{raw['metadata']['name']}.yaml", raw)
        link = tmp_path / "..data_tmp"
        link.symlink_to(folder.name)
        link.rename(tmp_path / "..data")
        for raw in raws:
            file = tmp_path / f"{raw['metadata']['name']}.yaml"
            if not file.is_symlink():
                file.symlink_to(f"..data/{file.name}")
        for file in tmp_path.glob("*.yaml"):
            if not file.exists():
                file.unlink()
        if version > 1:
            shutil.rmtree(tmp_path / f"..{version - 1}")

    async def test() -> None:
        swap(1, web(1), web(2))
        async with watching(tmp_path) as told:
            await told.shows(_1=80, _2=80)
            swap(2, web(1, 81), web(2, 81))
            await told.shows(_1=81, _2=81)
            swap(3, web(2, 82), web(3))
            await told.shows(_2=82, _3=80)
            assert not told.broke

    run(test)


def test_many_changes_in_a_row_end_in_the_right_state(tmp_path: Path) -> None:
    async def test() -> None:
        async with watching(tmp_path) as told:
            await told.until(lambda: told.batches)
            for step in range(100):
                write(tmp_path / f"{step % 7}.yaml", web(step % 7, 1000 + step))
                if step % 3 == 0:
                    (tmp_path / f"{(step + 3) % 7}.yaml").unlink(missing_ok=True)
                if step % 10 == 0:
                    await asyncio.sleep(0.02)
            await told.until(lambda: {one.ref: one for one in told.state.services.values()} == read(tmp_path).objects)

    run(test)


def test_a_watch_ends_when_it_is_told_to(tmp_path: Path) -> None:
    async def test() -> None:
        for _ in range(5):
            async with watching(tmp_path) as told:
                await told.until(lambda told=told: told.batches)  # type: ignore[misc]
        async with watching(tmp_path):
            pass

    run(test)


# Without inotify ------------------------------------------------------------------------------------------------------

NO_INOTIFY = """
import asyncio, sys
from pathlib import Path
from nftsvc.sources.directory import DirectorySource

class Receiver:
    def deliver(self, batch):
        print(len(batch.events), *(f"{one.severity}: {one}" for one in batch.problems), flush=True)
    def broken(self, source, reason):
        print("broken", reason, flush=True)

asyncio.run(DirectorySource(Path(sys.argv[1])).run(Receiver()))
"""


def test_where_inotify_is_used_up_the_folder_is_looked_at_every_second(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", web(1))
    script = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$0" -c "$1" "$2"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, sys.executable, NO_INOTIFY, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            lines = [process.stdout.readline() for _ in range(2)]
            write(tmp_path / "b.yaml", web(2))
            lines.append(process.stdout.readline())
        finally:
            process.kill()
    told = f"warning: {tmp_path}: no inotify, so it is looked at every second: "
    assert lines[0] == f"{len(KINDS)}\n"
    assert lines[1].startswith(f"{len(KINDS)} {told}")
    assert "Too many open files" in lines[1]
    assert lines[2].startswith(f"1 {told}")
