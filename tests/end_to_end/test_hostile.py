"""Input that means harm, and disks that do not cooperate: nothing runs, nothing hides, nothing explodes."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from nftsvc.pipeline import plan_from_manifests
from nftsvc.sources.manifests import load
from tests.support.cases import EXAMPLES

SERVICE = (EXAMPLES / "100-my-service" / "my-service.yaml").read_text()


def run(*arguments: str, cwd: Path, memory: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the installed program in a folder; `memory` bounds its address space, in bytes."""

    def limit() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    program = Path(sys.executable).parent / "nftsvc"
    return subprocess.run(
        [str(program), *arguments], cwd=cwd, capture_output=True, text=True, check=False, preexec_fn=limit
    )


def test_check_runs_nothing_from_the_folder_it_is_started_in(tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text(SERVICE)
    for name in ("msgspec", "json", "nftables", "ctypes"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    (tmp_path / "nftsvc").mkdir()
    (tmp_path / "nftsvc" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    done = run("check", ".", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


def test_aliases_that_multiply_are_refused_before_they_do(tmp_path: Path) -> None:
    addresses = ", ".join(["10.0.0.1"] * 3000)
    text = (
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-1}\naddressType: IPv4\nendpoints:\n"
    )
    (tmp_path / "bomb.yaml").write_text(f"{text}- &e {{addresses: [{addresses}]}}\n" + "- *e\n" * 3000)
    done = run("render", ".", cwd=tmp_path, memory=1 << 30)
    assert done.returncode == 3
    assert "bomb.yaml #1: aliases make far more of this than is written" in done.stderr


def test_a_file_name_cannot_write_to_the_terminal_or_forge_a_message(tmp_path: Path) -> None:
    (tmp_path / "a\x1b[31mRED\nerror: forged.yaml").write_text("kind: [")
    done = run("render", ".", cwd=tmp_path)
    assert done.returncode == 3
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_linked_folder_is_read_and_a_circle_ends(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "service.yaml").write_text(SERVICE)
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "manifests")
    loaded = load([str(tmp_path / "manifests")])
    assert [one.name for one in loaded.objects] == ["my-service"]
    assert not loaded.problems


def test_a_folder_that_cannot_be_read_is_an_error() -> None:
    """A Service whose endpoints are in a folder that cannot be read must not be rejected on the node."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "service.yaml").write_text(SERVICE)
        (folder / "pods").mkdir()
        folder.chmod(0o755)
        (folder / "pods").chmod(0)
        os.seteuid(65534)
        try:
            loaded = load([name])
        finally:
            os.seteuid(0)
    assert [str(problem) for problem in loaded.errors] == [f"{folder}/pods: cannot be read: Permission denied"]


def test_what_looks_like_markup_is_text(tmp_path: Path) -> None:
    (tmp_path / "service.yaml").write_text(SERVICE)
    done = run("render", ".", "--node", "[/red]", cwd=tmp_path)
    assert done.returncode == 2
    assert "'[/red]'" in done.stderr


def test_many_selectors_over_many_pods_look_at_each_pod_a_few_times(tmp_path: Path) -> None:
    """2,000 Services and 4,000 Pods of one namespace; comparing each with each would be 8,000,000 comparisons."""
    documents = []
    for number in range(2000):
        high, low = divmod(number, 250)
        documents.append(SERVICE.replace("my-service", f"s-{number}").replace("MyApp", f"app-{number}"))
        documents[-1] = documents[-1].replace("10.96.0.100", f"10.96.{high}.{low + 1}")
        documents += [
            "apiVersion: v1\nkind: Pod\n"
            f"metadata: {{name: p-{number}-{pod}, labels: {{app: app-{number}, tier: web}}}}\n"
            f"spec: {{nodeName: node-a}}\nstatus: {{podIP: 10.{100 + pod}.{high}.{low + 1}, "
            "conditions: [{type: Ready, status: 'True'}]}\n"
            for pod in range(2)
        ]
    (tmp_path / "all.yaml").write_text("---\n".join(documents))
    planned = plan_from_manifests([str(tmp_path)])
    assert [len(port.cluster) for port in planned.plan.ports] == [2] * 2000
    state = planned.state
    looked_at = sum(
        len(state.candidates("default", (service.spec.selector if service.spec else None) or {}))
        for service in state.services.values()
    )
    assert looked_at == 4000
