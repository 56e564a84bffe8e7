"""tlsearch's commands: options, exit codes, and which module does the work."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from tlsearch.errors import RequestError, TlsearchError, hidden

if TYPE_CHECKING:
    from tlsearch.config.schema import StudyConfig


class _Commands(TyperGroup):
    """All commands: a user's error is shown as one message, and gives the exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TlsearchError as error:
            typer.echo(f"tlsearch: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the reader of our output has left, as `head` does
            sys.stderr.close()
            raise typer.Exit(1) from None
        except OSError as error:  # of a folder that may not be entered, or of `--output`
            place = f"{error.filename}: " if error.filename else ""
            typer.echo(f"tlsearch: {place}{error.strerror or error}", err=True)
            raise typer.Exit(1) from None


app = typer.Typer(
    name="tlsearch",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Measure which transfer-learning strategy works on your images and your network.",
    epilog="Example: tlsearch run studies/quickstart.yaml --preset small",
)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY", help="A study file (YAML).")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="A.B=C", help="Override any field; repeatable."),
]
Preset = Annotated[
    str | None, typer.Option(metavar="NAME", help="One of the study's own presets, such as small.")
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON object on stdout, everything else on stderr.")
]


def as_arguments(study: Path, sets: list[str] | None, preset: str | None) -> str:
    """The study with the options that make it what it is, as a shell takes them; a password in
    them is left to the user to put back.
    """
    options = ["--preset", preset] if preset else []
    options += [word for text in sets or [] for word in ("--set", str(hidden(text)))]
    return shlex.join([str(study), *options])


def read(study: Path, sets: list[str] | None, preset: str | None) -> "StudyConfig":
    """The study; the environment's MLflow address goes before the file's, an option before both."""
    from tlsearch.api import load_study

    def show(text: str) -> None:
        typer.echo(f"note: {text}", err=True)

    return load_study(study, overrides=sets or [], preset=preset, on_note=show)


def _print_version(wanted: bool) -> None:
    if wanted:
        from tlsearch import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _top(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and leave.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    _give_home()


def _give_home() -> None:
    """Where a user has no home, as in many containers, MLflow and others that look for one find the
    state folder's cache.
    """
    try:
        Path.home()
    except RuntimeError:
        from tlsearch.config.paths import layout_here

        cache = str(layout_here().cache)
        os.environ["HOME"] = cache
        os.environ.setdefault("TLSEARCH_CACHE", cache)


@app.command(epilog="Example: tlsearch init photos -o photos.yaml")
def init(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A folder with a subfolder per class, or a CSV or Parquet table."
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The study to write.")
    ] = Path("study.yaml"),
    weights: Annotated[
        str | None, typer.Option(help="imagenet, glyphs, none, IMAGENET1K_V1 or a file of weights.")
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side that images are reduced to, pixels.", min=1, max=4096)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the study; else from PATH.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a folder or a table of images and write a commented study for it."""
    from tlsearch.cli import init as starting

    started = starting.start(
        path, output=output, weights=weights, size=size, name=name, force=force
    )
    if as_json:
        typer.echo(json.dumps(starting.as_json(started)))
    else:
        starting.show(started)


@app.command(
    epilog="Example: tlsearch check studies/quickstart.yaml --set budget.trials=100", name="check"
)
def check(
    study: Annotated[Path | None, typer.Argument(metavar="STUDY")] = None,
    sets: Sets = None,
    preset: Preset = None,
    as_json: Json = False,
    files: Annotated[
        Path | None,
        typer.Option("--files", metavar="FILE", help="Write the files of all findings as CSV."),
    ] = None,
    label_errors: Annotated[
        bool,
        typer.Option("--label-errors", help="Look for label errors too; takes the backbone."),
    ] = False,
    views: Annotated[
        Path | None,
        typer.Option(
            "--views",
            metavar="FILE",
            help="Draw training images under each augmentation of the space: .png or .html.",
        ),
    ] = None,
    score: Annotated[
        bool,
        typer.Option("--score", help="Score the networks on the training images, and time them."),
    ] = False,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of study files and leave.")
    ] = False,
) -> None:
    """Validate a study; print it resolved, its search space, what its images are like, its cost."""
    from tlsearch.cli import check as checking

    if schema:
        typer.echo(checking.schema())
        return
    if study is None:
        raise typer.BadParameter("name a study file", param_hint="STUDY")
    config = read(study, sets, preset)
    if views is not None:
        from tlsearch.report.views import check_ending

        check_ending(views)
    checking.check(config, label_errors=label_errors, score=score, files=files, as_json=as_json)
    if views is not None:
        checking.write_augmentation_views(config, views)
        typer.echo(f"views: {views}", err=as_json)


@app.command(epilog="Example: tlsearch run studies/quickstart.yaml --preset small")
def run(
    study: StudyFile,
    sets: Sets = None,
    preset: Preset = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start over; what is there is set aside, not deleted.")
    ] = False,
    open_report: Annotated[
        bool,
        typer.Option("--open-report", help="Show the report in a browser, anew while it runs."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Search, confirm and report; carries on where an earlier run stopped."""
    from tlsearch.cli import run as running

    config, arguments = read(study, sets, preset), as_arguments(study, sets, preset)
    running.run(config, fresh=fresh, arguments=arguments, as_json=as_json, open_report=open_report)


@app.command(epilog="Example: tlsearch status studies/quickstart.yaml --json")
def status(
    study: StudyFile, sets: Sets = None, preset: Preset = None, as_json: Json = False
) -> None:
    """Show where a study stands; creates nothing."""
    from tlsearch.cli import run as running

    config, arguments = read(study, sets, preset), as_arguments(study, sets, preset)
    running.status(config, as_json=as_json, arguments=arguments)


@app.command(epilog="Example: tlsearch report studies/quickstart.yaml -o report.html")
def report(
    study: StudyFile,
    sets: Sets = None,
    preset: Preset = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write.")] = None,
    kind: Annotated[
        Literal["html", "md", "json", "csv"],
        typer.Option("--format", help="html, md or json; csv of a comparison's claims."),
    ] = "html",
) -> None:
    """Write what a study found as one self-contained file."""
    from tlsearch.cli import run as running

    config, arguments = read(study, sets, preset), as_arguments(study, sets, preset)
    typer.echo(running.report(config, kind=kind, output=output, arguments=arguments))


@app.command(epilog="Example: tlsearch ui studies/quickstart.yaml")
def ui(
    study: StudyFile,
    sets: Sets = None,
    preset: Preset = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open both pages in a browser.")
    ] = True,
) -> None:
    """Start MLflow's UI and Optuna Dashboard at a study, on this machine alone, until Ctrl-C."""
    config, arguments = read(study, sets, preset), as_arguments(study, sets, preset)
    from tlsearch.cli import dashboards

    dashboards.serve(dashboards.stores_of(config, arguments=arguments), browser=browser)


@app.command(epilog="Example: tlsearch export studies/quickstart.yaml -o digits.onnx")
def export(
    study: StudyFile,
    sets: Sets = None,
    preset: Preset = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write; else NAME.pt2 here.")
    ] = None,
    kind: Annotated[
        Literal["pt2", "onnx"] | None, typer.Option("--format", help="pt2 or onnx.")
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Keep weights in fp16: half the size.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a study's confirmed winner as one file, for `tlsearch predict` and other programs."""
    from tlsearch.cli.predict import chosen_format, show_export

    chosen = chosen_format(kind, output)
    config = read(study, sets, preset)
    if config.comparison is not None:
        raise RequestError(
            f"name = {config.name!r}: a comparison keeps no model — run a study without "
            "`comparison`, with the strategy that did best as its space"
        )
    from tlsearch.cli.run import started_study
    from tlsearch.search.export import export_study

    found = started_study(config, as_arguments(study, sets, preset))
    done = export_study(found.store, found.layout, path=output, kind=chosen, half=half)
    if as_json:
        typer.echo(json.dumps(done.as_json()))
    else:
        show_export(done)


@app.command(epilog="Example: tlsearch predict quickstart.pt2 photos -o answers.csv")
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A file that export wrote.")],
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGES...", help="Files, folders, or patterns.")
    ],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=65536, help="Images at a time.")] = 64,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 1,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="The probability of every class.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Class and probability of each image, as CSV or JSON."""
    from tlsearch.cli.predict import run_predict

    run_predict(
        model,
        images,
        output=output,
        as_json=as_json,
        batch_size=batch_size,
        top=top,
        probabilities=probabilities,
    )


@app.command(epilog="Example: tlsearch networks 'timm/vit_small*'")
def networks(
    pattern: Annotated[
        str | None,
        typer.Argument(
            metavar="[PATTERN]", help="Part of a name, or a pattern with *; else torchvision's."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List networks: parameters, multiply-adds, native size, weights, and where each can be cut."""
    from tlsearch.cli import networks as listing

    listing.networks(pattern, as_json=as_json)


@app.command(epilog="Example: tlsearch clean set-aside activations")
def clean(
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PART]...",
            help="What to delete: set-aside, activations (these two unless named), other-sizes, "
            "images, styled-images, source-models, measurements, checkpoints.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without a question.")] = False,
    as_json: Json = False,
) -> None:
    """Show what lies in mlruns/ and in the caches, and delete what may go, once agreed to."""
    from tlsearch.cli import clean as cleaning

    cleaning.clean(parts or (), yes=yes, as_json=as_json)


@app.command(epilog="Example: tlsearch doctor --json")
def doctor(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY]", help="Look at this study's stores.")
    ] = None,
    sets: Sets = None,
    preset: Preset = None,
    as_json: Json = False,
    clear_cache: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Delete a cache first: activations, images, styled-images, source-models, "
            "measurements or all; repeatable.",
        ),
    ] = None,
) -> None:
    """Versions, devices, stores, caches: what works here and what does not; creates nothing."""
    from tlsearch.cli import doctor as examined

    config = None if study is None else read(study, sets, preset)
    examined.doctor(config, as_json=as_json, clear=clear_cache or ())
