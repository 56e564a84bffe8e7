"""`tlsearch export`: which format, and what to say of the file."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from rich.console import Console

from tlsearch.errors import RequestError

if TYPE_CHECKING:
    from tlsearch.search.export import Exported


Format = Literal["pt2", "onnx"]


def chosen_format(named: Format | None, output: Path | None) -> Format:
    """The format that was named, or that of the file's ending, or pt2.

    Raises:
        RequestError: the two disagree, or the ending is another.
    """
    ending = output.suffix.removeprefix(".").lower() if output else named or "pt2"
    if ending not in ("pt2", "onnx"):
        wanted = f".{named}" if named else ".pt2 or .onnx"
        raise RequestError(f"--output = {output}: a model's file ends in {wanted}")
    if named and ending != named:
        raise RequestError(f"--output = {output}: ends in .{ending}, but --format is {named}")
    return cast(Format, ending)


def show(exported: "Exported") -> None:
    """What was written, how it compares, and what it takes."""
    console = Console(highlight=False, markup=False, emoji=False)
    facts, test = exported.facts, exported.facts.test
    told = exported.facts.as_json()
    lines = [
        f"{exported.path}  {exported.num_bytes / 2**20:.1f} MiB",
        f"model        {facts.study}, trial {facts.trial} ({facts.run}), {facts.backbone}",
        f"test part    accuracy {test['mean']:.4f} (95 % interval {test['low']:.4f} … "
        f"{test['high']:.4f}) over {test['num_images']} images",
        f"input        {told['input']}; images are fitted by: {facts.fit}",
        f"output       {told['output']}",
        f"checked      as {exported.kind} a probability differs by at most "
        f"{exported.checked.largest:.1e}, on {exported.num_images} {exported.images}",
    ]
    if exported.halved:
        changed, total = exported.halved.changed, exported.num_images
        lines.append(
            f"half         against full weights a probability differs by at most "
            f"{exported.halved.largest:.1e}; {changed} of {total} decisions change"
        )
    for line in lines:
        console.print(line, soft_wrap=True)
