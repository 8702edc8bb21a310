"""How one sees on a provider's screen what its agent does: rules as data, in the `screen` section of its file.

A screen is read from the bottom: what the agent asks stands there, or its composer does, the place where one types.
What stands above is history, in which any words can be quoted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from common.errors import InvalidInput
from common.patterns import LinePattern, compile_pattern

State = Literal["working", "waiting", "idle", "dialog", "exited", "unknown"]
Where = Literal["title", "bottom", "above", "below"]


class Data(BaseModel):
    """What stands in a file: nothing else is accepted, nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


@lru_cache(maxsize=1024)
def compiled(text: str) -> LinePattern:
    """The pattern, compiled once."""
    return compile_pattern(text)


def _checked(value: str) -> str:
    try:
        compiled(value)
    except InvalidInput as error:
        raise ValueError(" ".join(filter(None, (error.what, error.fix)))) from None
    return value


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, str) else value


LineText = Annotated[str, Field(min_length=1), AfterValidator(_checked)]
LineTexts = Annotated[tuple[LineText, ...], BeforeValidator(_several)]


class Composer(Data):
    """Where one types: the lowest line that has the prompt and fits.

    `fence` is on one of the `gap` lines above it; lines directly above that have `over` belong to it; `end` is on a
    line after it; from there (without `end`: from the prompt) down to the bottom each line has `rest`.
    """

    prompt: LineText
    fence: LineText | None = None
    gap: int = Field(default=1, ge=1, le=20)
    over: LineText | None = None
    end: LineText | None = None
    rest: LineText | None = None


class ScreenRule(Data):
    """Holds when each `pattern` is on a line of the place, no `not` is, `last` is on the screen's lowest line, and
    there is a composer or none, as `composer` says; leaves a question open that is not asked.

    `where`: the title; `bottom`, the last `lines` lines that are not empty; `above`, as many above the composer;
    `below`, as many below it; with `from` only from the lowest of them on that has it, if one does. With `wrapped` a
    pattern may also stretch over two lines. `unknown` as the state keeps later rules from guessing.
    """

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=40)
    state: State
    where: Where = "bottom"
    lines: int = Field(default=20, ge=1, le=200)
    start: LineText | None = Field(default=None, alias="from")
    pattern: LineTexts = ()
    unless: LineTexts = Field(default=(), alias="not")
    last: LineText | None = None
    composer: bool | None = None
    wrapped: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> ScreenRule:
        if not self.pattern and self.last is None and self.composer is None:
            raise ValueError("a rule needs a pattern, last or composer: this one would always hold")
        return self


class ScreenRules(Data):
    """A provider's rules; the first that holds decides. `version` is told with each verdict: raise it with a change.

    `like` names a provider whose rules are tried after these, where several programs can be the agent.
    """

    version: int = Field(ge=1)
    like: str = ""
    composer: Composer | None = None
    rules: Annotated[tuple[ScreenRule, ...], BeforeValidator(_several)] = ()

    @model_validator(mode="after")
    def _fits(self) -> ScreenRules:
        names = [rule.name for rule in self.rules]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"two rules are called {twice}")
        if self.composer is None:
            needing = next((one for one in self.rules if one.composer is not None or one.where in _AROUND), None)
            if needing:
                raise ValueError(f"the rule {needing.name} asks for the composer, and no composer is described")
        return self


_AROUND = ("above", "below")
