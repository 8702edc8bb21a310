"""What agents' screens are read as: real captures, the same disfigured, anything at all; and rules with mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import InvalidInput
from common.patterns import LinePattern
from common.text import plain
from sessions import configured
from sessions.detection import Look, Verdict, classify, rules_for
from sessions.providers import SHIPPED, load_providers
from sessions.providers.screen import compiled
from sessions.screens import read_screen
from tests.sessions.screens import HERE, Shown, table

PROVIDERS = load_providers()
RULES = {name: rules_for(provider, PROVIDERS) for name, provider in PROVIDERS.items()}
TABLE = table()
CASES = [pytest.param(one, id=one.name) for one in TABLE]

ASKING = """\
  ────────────────────────────────
   Do you want to proceed?
   ❯ 1. Yes
     2. No
   Esc to cancel · Tab to amend
  Would you like to run the following command?
  › 1. Yes, proceed (y)
  Press enter to confirm or esc to cancel
  ✽ Pondering… (3s · esc to interrupt)
  ◦ Working (3s • esc to interrupt)
  ⠏ Thinking... (esc to cancel, 3s)
  ╭────────────────────╮
  │ ● 1. Allow once    │
  ╰────────────────────╯
  △ Permission required
  EXIT=1
  user@host:~$"""
# An answer that quotes all that, with what each agent draws around an answer.
HISTORY = {
    "claude": f"❯ what do agents ask?\n\n● They ask:\n{ASKING}\n\n✻ Cogitated for 3s\n",
    "codex": f"› what do agents ask?\n\n\n• They ask:\n{ASKING}\n\n  Worked for 3s • 10:00\n\n\n",
    "gemini": f" > what do agents ask?\n\n✦ They ask:\n{ASKING}\n\n",
    "ollama": f"  ┃\n  ┃  what do agents ask?\n  ┃\n\n     They ask:\n{ASKING}\n\n     ▣  Build · 3.0s\n\n",
}


def verdict(one: Shown, text: str, title: str | None = None) -> Verdict:
    return classify(RULES[one.provider], Look(text, title=one.title if title is None else title))


@pytest.mark.parametrize("one", CASES)
def test_captures(one: Shown) -> None:
    found = verdict(one, (HERE / f"{one.name}.txt").read_text())
    assert (found.state, found.rule) == (one.state, one.rule)


def test_each_capture_is_in_the_table() -> None:
    assert sorted(one.name for one in TABLE) == sorted(path.stem for path in HERE.glob("*.txt"))
    used = {(one.provider, one.rule) for one in TABLE}
    for provider in ("claude", "codex", "gemini", "ollama"):
        assert {one.state for one in TABLE if one.provider == provider} >= {
            "working", "waiting", "idle", "dialog", "exited"
        }  # fmt: skip
    assert len(used) > 20


def crlf(text: str) -> str:
    return text.replace("\n", "\r\n")


def blanks(text: str) -> str:
    return "".join(f"{line}   \n" for line in text.split("\n")) + "\n" * 200 + "   \t \n"


def coloured(text: str) -> str:
    lines = [f"\x1b[38;5;12m\x1b[49m{line[:7]}\x1b[39m{line[7:]}\x1b[0m" for line in plain(text).split("\n")]
    return "\n".join(lines)


def linked(text: str) -> str:
    return "\n".join(f"\x1b]8;;http://x/\x1b\\{line}\x1b]8;;\x1b\\" for line in text.split("\n"))


def reflowed(text: str, columns: int) -> str:
    """As tmux wraps what is there when a window becomes narrow, until the agent draws again."""
    lines = [line.rstrip() for line in text.split("\n")]
    return "\n".join(line[at : at + columns] for line in lines for at in range(0, max(len(line), 1), columns))


def states(change: Callable[[Shown, str], str]) -> dict[str, str]:
    """What the captures are read as when they are changed."""
    return {one.name: verdict(one, change(one, (HERE / f"{one.name}.txt").read_text())).state for one in TABLE}


STATES = {one.name: one.state for one in TABLE}


@pytest.mark.parametrize("disfigured", [crlf, blanks, coloured, linked])
def test_disfigured_captures(disfigured: Callable[[str], str]) -> None:
    assert states(lambda one, text: disfigured(text)) == STATES


# A dialog that is laid over a screen, or stands in columns, is in pieces then.
IN_PIECES = {
    "opencode-120x40-palette",
    "opencode-120x40-help",
    "codex-120x40-resume",
    "claude-100x30-transcript-working",
}


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_captures_in_a_window_that_became_narrow(columns: int) -> None:
    read = states(lambda one, text: reflowed(text, columns) if one.name not in IN_PIECES else text)
    assert {name: state for name, state in read.items() if "ansi" not in name} == {
        name: state for name, state in STATES.items() if "ansi" not in name
    }


def test_captures_without_their_titles() -> None:
    read = {one.name: verdict(one, (HERE / f"{one.name}.txt").read_text(), title="").state for one in TABLE}
    assert read == STATES | {"claude-100x30-transcript-working": "unknown"}


@pytest.mark.parametrize("times", [1, 40])
def test_what_an_answer_quotes_above_decides_nothing(times: int) -> None:
    assert states(lambda one, text: HISTORY[one.provider] * times + text) == STATES


@pytest.mark.parametrize(
    ("provider", "screen"),
    [
        ("claude", "{history}\n────────────────────\n❯\u00a0\n────────────────────\n  ? for shortcuts\n"),
        ("codex", "{history}› Ask Codex to do anything\n\n  GPT-5.5 default · ~/shop\n  ? for shortcuts\n"),
        ("gemini", "{history}────────────\n Shift+Tab to accept edits\n\n >   Type your message\n\n workspace\n"),
        ("ollama", "{history}  ┃\n  ┃\n  ┃  Build · m\n  ╹▀▀▀▀▀▀▀▀▀▀\n   ~/shop     ctrl+p commands\n"),
    ],
)
def test_quoting_right_above_the_composer(provider: str, screen: str) -> None:
    found = classify(RULES[provider], Look(screen.format(history=HISTORY[provider])))
    assert (found.state, found.rule) == ("idle", "composer")


DRAFTS = [line.strip() for line in ASKING.splitlines()]


@pytest.mark.parametrize("draft", DRAFTS)
def test_a_half_typed_prompt_decides_nothing(draft: str) -> None:
    rows = f"{draft}\n  {draft}\n  and more"
    fence = "─" * 40
    screens = {
        "claude": f"● Done.\n\n{fence}\n❯ {rows}\n{fence}\n  ⏸ manual mode on\n",
        "codex": f"• Done.\n\n  Worked for 1s • 10:00\n\n› {rows}\n\n  GPT-5.5 default · ~/shop\n  ⚠ 1 warning\n",
        "gemini": f"✦ Done.\n{fence}\n Shift+Tab to accept edits\n\n > {rows}\n\n workspace\n ~/shop\n",
        "ollama": f"     Done.\n\n  ┃\n  ┃  {draft}\n  ┃  {draft}\n  ┃\n  ┃  Build · m\n  ╹▀▀▀▀▀▀▀▀\n   ~/shop\n",
    }
    assert {name: classify(RULES[name], Look(text)).state for name, text in screens.items()} == dict.fromkeys(
        screens, "idle"
    )


@pytest.mark.parametrize(
    ("last", "state"),
    [
        ("EXIT=0", "exited"),
        ("EXIT=137", "exited"),
        ("user@host:~/shop$", "exited"),
        ("user@host:~/shop$ ls", "exited"),
        ("# ", "exited"),
        ("[user@host shop]$ ", "exited"),
        ("host%", "exited"),
        ("", "unknown"),
        ("some text of a program that has something to say", "unknown"),
        ("Done with 50% of the $5 that there are", "unknown"),
    ],
)
@pytest.mark.parametrize("provider", ["claude", "codex", "gemini", "ollama"])
def test_a_shell_that_took_its_place(provider: str, last: str, state: str) -> None:
    assert classify(RULES[provider], Look(f"Goodbye.\n{last}\n")).state == state


@pytest.mark.parametrize(
    ("provider", "screen", "rule"),
    [
        ("claude", "Resume this session with:\nclaude --permission-mode manual --resume 0\n", "resume-hint"),
        ("claude", " Unable to connect to Anthropic services\n\n Failed to connect: EAI_AGAIN\n", "no-connection"),
        ("codex", "Token usage: total=1\nTo continue this session, run:\n  codex resume 0\n", "resume-hint"),
        ("gemini", "│  To resume this session: gemini --resume 0   │\n╰──────╯\n", "resume-hint"),
        ("ollama", "   Session   a test\n   Continue  opencode -s ses_0\n", "resume-hint"),
    ],
)
def test_last_words(provider: str, screen: str, rule: str) -> None:
    found = classify(RULES[provider], Look(screen))
    assert (found.state, found.rule) == ("exited", rule)


def test_what_an_agent_asks_besides_permissions() -> None:
    fence = "─" * 60
    asked = f"{fence}\n Which database?\n ❯ 1. SQLite\n   2. PostgreSQL\n\n"
    hint = " Enter to select · ↑/↓ to navigate · Esc to cancel\n"
    assert classify(RULES["claude"], Look(asked + hint)).rule == "question"
    plan = f"{fence}\n Here is the plan.\n\n Would you like to proceed?\n\n ❯ 1. Yes, and use auto mode\n   2. No\n"
    assert classify(RULES["claude"], Look(plan)).state == "waiting"
    key = f"{fence}\n Do you want to use this API key?\n   1. Yes\n ❯ 2. No (recommended)\n Enter to confirm\n"
    assert classify(RULES["claude"], Look(key)).state == "dialog"
    framed = "╭─────────╮\n│ Do you want to make this edit? │\n│ ❯ 1. Yes  │\n│   2. No   │\n╰─────────╯\n"
    assert classify(RULES["claude"], Look(framed)).state == "waiting"
    theme = " Choose the text style that looks best with your terminal\n\n ❯ 1. Dark mode\n   2. Light mode\n"
    assert classify(RULES["claude"], Look(theme)).state == "dialog"
    transcript = f"● hi\n{fence}\n  Showing detailed transcript · ctrl+o to toggle\n"
    assert classify(RULES["claude"], Look(transcript)).state == "unknown"
    assert classify(RULES["claude"], Look(transcript, title="⠂ x")).state == "working"


def test_a_composer_in_a_box() -> None:
    box = "● Done.\n\n╭──────────────╮\n│ > a draft    │\n╰──────────────╯\n  ? for shortcuts\n"
    assert classify(RULES["claude"], Look(box)).state == "idle"
    busy = box.replace("● Done.", "● Reading.\n\n✻ Puttering… (3s · esc to interrupt)")
    assert classify(RULES["claude"], Look(busy)).state == "working"


SIGNS = ["─" * 30, " " * 30, "\x1b[", "\x1b]", "\r", "\u00a0", *"❯›>!┃│╹▀▄╭╰●✦⠏"]
WORDS = st.sampled_from([*ASKING.splitlines(), *SIGNS])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=st.lists(WORDS | st.text(), max_size=60).map("\n".join), title=st.text())
def test_nothing_makes_it_raise(text: str, title: str) -> None:
    for rules in RULES.values():
        assert classify(rules, Look(text, title=title)).state in {
            "working", "waiting", "idle", "dialog", "exited", "unknown",
        }  # fmt: skip


def test_what_is_read_of_a_capture_has_an_end() -> None:
    lines = read_screen("x" * 3_000_000 + "\n" + "a long line " * 50_000 + "\n" * 10_000 + "end" + "\n" * 10_000)
    assert (len(lines) <= 300, max(map(len, lines)) <= 1000, lines[-1]) == (True, True, "end")
    assert read_screen("") == read_screen("\n \n\x1b[0m\n") == []


def test_no_pattern_sees_more_of_a_line_than_it_can_take() -> None:
    """The work of a pattern is bounded by its compilation; here, that each one is compiled so, and obeys."""
    patterns = [
        text
        for rules in {each for found in RULES.values() for each in found}
        for rule in rules.rules
        for text in (*rule.pattern, *rule.unless, rule.last)
        if text
    ]
    assert len(patterns) > 30
    for text in patterns:
        found = compiled(text)
        assert isinstance(found, LinePattern)
        assert 100 <= found.longest <= 4000


MINE = """version: 1
name: mine
label: Mine
screen:
  version: {version}
  composer: {{prompt: '^> '}}
  rules:
{rules}
"""
RULE = "    - {{name: {name}, state: {state}, pattern: '{pattern}'}}\n"


def write(directory: Path, *rules: str, version: int = 1) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "mine.yaml"
    path.write_text(MINE.format(version=version, rules="".join(rules)))
    return path


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("    - {name: a, state: happy, pattern: x}\n", "screen.rules.1.state"),
        ("    - {name: a, state: detecting, pattern: x}\n", "screen.rules.1.state"),
        ("    - {name: A b, state: idle, pattern: x}\n", "screen.rules.1.name"),
        ("    - {name: a, state: idle}\n", "would always hold"),
        ("    - {name: a, state: idle, not: x}\n", "would always hold"),
        ("    - {name: a, state: idle, pattern: '('}\n", "no regular expression"),
        ("    - {name: a, state: idle, pattern: ''}\n", "screen.rules.1.pattern"),
        ("    - {name: a, state: idle, pattern: '(a+)+b'}\n", "a loop or a choice within a loop"),
        ("    - {name: a, state: idle, pattern: [x, '(ab|cd)*']}\n", "screen.rules.1.pattern.1"),
        ("    - {name: a, state: idle, last: '.*.*.*.*.*.*.*x'}\n", "too many loops"),
        ("    - {name: a, state: idle, not: '(x)\\1', pattern: x}\n", "refers back"),
        ("    - {name: a, state: idle, pattern: x, where: middle}\n", "screen.rules.1.where"),
        ("    - {name: a, state: idle, pattern: x, lines: 0}\n", "screen.rules.1.lines"),
        ("    - {name: a, state: idle, pattern: x, colour: red}\n", "there is no key screen.rules.1.colour"),
        ("    - {name: a, state: idle, pattern: 12}\n", "screen.rules.1.pattern"),
    ],
)
def test_mistakes_in_rules_are_named_with_their_line(tmp_path: Path, rule: str, what: str) -> None:
    path = write(tmp_path, RULE.format(name="good", state="idle", pattern="x"), rule)
    with pytest.raises(InvalidInput) as error:
        load_providers(tmp_path)
    assert what in error.value.what
    assert error.value.what.startswith(f"{path}:9: ")


@pytest.mark.parametrize(
    ("screen", "what"),
    [
        ("screen: {version: 0, rules: []}", "screen.version"),
        ("screen: {rules: []}", "screen.version is missing"),
        ("screen: {version: 1, rules: [{name: a, state: idle, composer: true}]}", "no composer is described"),
        ("screen: {version: 1, rules: [{name: a, state: idle, where: above, pattern: x}]}", "no composer is described"),
        ("screen: {version: 1, like: nobody}", "there is no provider nobody"),
        ("screen: {version: 1, composer: {prompt: '(a*)*'}}", "screen.composer.prompt"),
        (
            "screen: {version: 1, rules: [{name: a, state: idle, last: x}, {name: a, state: idle, last: y}]}",
            "two rules are called a",
        ),
    ],
)
def test_mistakes_in_what_rules_stand_on(tmp_path: Path, screen: str, what: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"version: 1\nname: mine\nlabel: Mine\n{screen}\n")
    with pytest.raises(InvalidInput) as error:
        load_providers(tmp_path)
    assert what in error.value.what
    assert error.value.what.startswith(f"{path}:4: ")


def test_an_operators_rules_take_a_shipped_ones_place(tmp_path: Path) -> None:
    text = (SHIPPED / "claude.yaml").read_text()
    (tmp_path / "claude.yaml").write_text(text.replace("  version: 1", "  version: 7").replace("esc to int", "any"))
    known = load_providers(tmp_path)
    one = next(one for one in TABLE if one.rule == "footer" and one.provider == "claude")
    found = classify(rules_for(known["claude"], known), Look((HERE / f"{one.name}.txt").read_text()))
    assert (found.state, found.version) == ("idle", 7)


def test_rules_are_read_again_when_they_change_and_stay_while_they_are_wrong(home: Any) -> None:
    directory = home.root / "providers"
    rule = RULE.format(name="busy", state="working", pattern="crunching")
    write(directory, rule)
    first = configured.screen_rules()
    assert configured.screen_rules() is first
    assert classify(first["mine"], Look("crunching")).state == "working"
    write(directory, rule.replace("crunching", "chewing"), version=12)
    second = configured.screen_rules()
    assert classify(second["mine"], Look("crunching")).state == "unknown"
    assert classify(second["mine"], Look("chewing")).version == 12
    write(directory, rule.replace("crunching", "(a+)+ and so on"))
    assert configured.screen_rules() is second
    with pytest.raises(InvalidInput, match="within a loop"):
        configured.providers()
    (directory / "mine.yaml").unlink()
    assert "mine" not in configured.screen_rules()


def test_the_example_in_the_guide_works(tmp_path: Path) -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs" / "sessions.md").read_text()
    example = next(part for part in guide.split("```") if part.startswith("yaml") and "screen:" in part)
    (tmp_path / "aider.yaml").write_text(example.removeprefix("yaml"))
    rules = rules_for(load_providers(tmp_path)["aider"], PROVIDERS)
    for text, state in [
        ("Edit main.py? (Y)es/(N)o [Yes]:", "waiting"),
        ("⠋ Waiting for gpt-5.5", "working"),
        ("Done.\n\nask> esc to inter", "idle"),
    ]:
        assert classify(rules, Look(text)).state == state
