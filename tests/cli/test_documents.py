"""What the program writes about itself: docs/options.md, the manual page, completions; and what `cmake --install` puts where."""

import os
import re
import shutil
import subprocess

import pytest
from program import RESFLOW, ROOT, USER_ERROR, resflow


def needs(tool):
    return pytest.mark.skipif(not shutil.which(tool), reason=f"{tool} is not installed (tools/setup.sh test)")


def made(*arguments):
    return resflow("docs", *arguments).stdout


def test_the_options_page_is_what_the_program_says_now():
    assert (ROOT / "docs" / "options.md").read_text() == made("--markdown"), "run: build/resflow docs --markdown > docs/options.md"


def test_every_option_of_help_is_on_the_options_page():
    page = (ROOT / "docs" / "options.md").read_text()
    commands = re.findall(r"^## resflow (\S+)$", page, re.MULTILINE)
    assert {"restore", "caption", "serve", "train", "docs"} <= set(commands)
    for command in ("restore", "caption", "serve"):
        section = page.split(f"\n## resflow {command}\n")[1].split("\n## ")[0]
        for name in re.findall(r"^  (?:-\w,)?(--[a-z][a-z-]+)", resflow(command, "--help").stdout, re.MULTILINE):
            assert name == "--help" or f"`{name}" in section, f"{command} {name}"


@needs("mandoc")
def test_the_manual_page_has_no_faults(tmp_path):
    (tmp_path / "resflow.1").write_text(made("--man"))
    found = subprocess.run(["mandoc", "-T", "lint", "-W", "error", tmp_path / "resflow.1"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    shown = subprocess.run(["mandoc", "-T", "utf8", "-O", "width=200", tmp_path / "resflow.1"], capture_output=True, text=True, check=True).stdout
    shown = re.sub(r".\x08", "", shown)
    for words in ("resflow restore inputs...", "--sampler TEXT", "one of euler, heun", "resflow restore old.jpg -o restored.png", "--checks, --no-checks"):
        assert words in shown, words


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completions")
    for shell in ("bash", "zsh", "fish"):
        (folder / f"resflow.{shell}").write_text(made("--completion", shell))
    return folder


def bash_offers(scripts, *words):
    """What bash offers for the last word."""
    program = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }
_resflow; printf '%s\\n' "${COMPREPLY[@]}"
"""
    done = subprocess.run(["bash", "-c", program, "bash", scripts / "resflow.bash", *words], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@needs("bash")
@pytest.mark.parametrize(
    "words, offers",
    [
        (["resflow", "res"], {"restore"}),
        (["resflow", "search-"], {"search-report", "search-bench"}),
        (["resflow", "restore", "--sampl"], {"--sampler"}),
        (["resflow", "restore", "--no-ch"], {"--no-checks"}),
        (["resflow", "restore", "a.png", "--sampler", "he"], {"heun"}),
        (["resflow", "restore", "--sampler", "=", "he"], {"heun"}),
        (["resflow", "--threads", "2", "restore", "--color-fix", "w"], {"wavelet"}),
        (["resflow", "restore", "--rewards", "niqe,lq"], {"niqe,lq-consistency"}),
        (["resflow", "restore", "--trace-pictures", "s"], {"small"}),
        (["resflow", "docs", "--completion", "z"], {"zsh"}),
        (["resflow", "restore", "--steps", "1"], set()),
    ],
    ids=str,
)
def test_bash_completes(scripts, words, offers):
    assert set(bash_offers(scripts, *words)) == offers


@needs("fish")
def test_fish_completes(scripts):
    def offers(line):
        command = f"source {scripts}/resflow.fish; complete -C '{line}'"
        done = subprocess.run(["fish", "--no-config", "-c", command], capture_output=True, text=True, check=True)
        return {row.split("\t")[0] for row in done.stdout.splitlines()}

    assert offers("resflow resto") == {"restore"}
    assert offers("resflow restore --sampl") >= {"--sampler"} and offers("resflow restore --sampler he") == {"heun"}


@needs("zsh")
def test_zsh_completes(scripts):
    """In a terminal of its own: its completion lives in the line editor."""
    import pty
    import select
    import time

    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update(TERM="dumb", PS1="> ", HOME=str(scripts))
        os.execvp("zsh", ["zsh", "-f"])

    def until(words, seconds=20):
        seen, end = "", time.monotonic() + seconds
        while words not in seen and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                seen += os.read(terminal, 65536).decode(errors="replace")
        assert words in seen, seen
        return seen

    try:
        os.write(terminal, f"autoload -Uz compinit; compinit -u -D; source {scripts}/resflow.zsh; echo rea''dy\n".encode())
        until("ready")
        os.write(terminal, b"echo resflow restore --sampler he\t")
        time.sleep(0.5)
        os.write(terminal, b"\x15resflow restore --sampler he\t")
        until("heun")
        os.write(terminal, b"\x15resflow inspe\t")
        until("inspect")
    finally:
        os.write(terminal, b"\x15exit\n")
        os.close(terminal)
        os.waitpid(pid, 0)


def test_docs_wants_one_thing():
    assert "nothing is asked for" in resflow("docs", code=USER_ERROR).stderr
    assert "excludes" in resflow("docs", "--man", "--markdown", code=USER_ERROR).stderr


@needs("cmake")
def test_an_installed_program_works_by_itself(tmp_path, pictures):
    if not (ROOT / "build" / "cmake_install.cmake").exists() or RESFLOW != str(ROOT / "build" / "resflow"):
        pytest.skip("not the build folder's program")
    prefix = tmp_path / "usr"
    subprocess.run(["cmake", "--install", ROOT / "build", "--prefix", prefix], check=True, capture_output=True)
    for file in (
        "bin/resflow",
        "share/resflow/weights/compact.safetensors",
        "share/resflow/web/index.html",
        "share/man/man1/resflow.1",
        "share/bash-completion/completions/resflow",
        "share/zsh/site-functions/_resflow",
        "share/fish/vendor_completions.d/resflow.fish",
    ):
        assert (prefix / file).is_file(), file
    assert (prefix / "share/man/man1/resflow.1").read_text() == made("--man")
    words = [prefix / "bin/resflow", "restore", pictures / "coffee.png", "-o", tmp_path / "out.png", "--scale", "1", "--strength", "0"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
