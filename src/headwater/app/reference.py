"""The reference pages that are made from the code: configuration, metrics, errors, command line.

`make docs` writes them; a house test compares them with the code. The page of the command line is made by
`headwater.cli.reference`, because nothing below the command line may import it.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from headwater.app.config import HeadwaterConfig
from headwater.app.metrics import EVERYTHING
from headwater.app.reference_routes import http_api_page
from headwater.http.problems import HTTP_PROBLEMS, problem_type
from headwater.kernel.configfile import Option, options_of
from headwater.kernel.errors import HeadwaterError
from headwater.kernel.metrics import Metric

NOTE = "<!-- Made from the code by `make docs`; changes belong there. -->\n"


def _section_of(option: Option) -> str:
    """The heading under which an option stands: its path without its own name."""
    return option.path.rpartition(".")[0]


def _option_row(option: Option) -> str:
    default = (
        "**required**" if option.default is None else f"`{option.default}`" if option.default not in ("none", "empty") else option.default
    )
    meaning = option.description.replace("|", "\\|")
    return f"| `{option.path.rpartition('.')[2]}` | {option.type} | {default} | {meaning} |"


def _option_tables() -> Iterator[str]:
    options = sorted(options_of(HeadwaterConfig), key=_section_of)
    for section, members in groupby(options, key=_section_of):
        yield f"## `{section}`\n" if section else "## Top level\n"
        yield "| option | type | default | meaning |\n|---|---|---|---|"
        yield from map(_option_row, members)
        yield ""


def configuration_page() -> str:
    """`configuration.md`."""
    head = f"""# Configuration

{NOTE}
One YAML file, named by `--config FILE` or `HEADWATER_CONFIG`; without one everything has its default. Durations carry a unit
(`250ms`, `30s`, `5m`, `2h`, `7d`), sizes too (`512B`, `64KiB`, `10MiB`). An unknown key is an error that names its path, its line and
the nearest known key. `headwater check --config FILE` validates without starting anything.

Every option can be set in the environment: `HEADWATER_` and the path in upper case, two underscores between its parts, for example
`HEADWATER_DATA_DIR=/var/lib/headwater` or `HEADWATER_EVENTS__LISTEN=127.0.0.1:8192`. A secret `option` can be read from a file with
`option_file: PATH`, or `…__OPTION_FILE` in the environment.

SIGHUP reads the file again. It is validated first; when it is wrong, everything stays as it was, and the log says why. What cannot
change in a running process is named in the log and takes effect at the next start ([running](../operations/running.md)).
"""
    return head + "\n" + "\n".join(_option_tables()).rstrip() + "\n"


def metrics_page(catalogue: Sequence[Metric] = EVERYTHING) -> str:
    """`metrics.md`."""
    lines = [
        f"# Metrics\n\n{NOTE}",
        "Every role serves all metrics of its process under `/metrics` in the Prometheus text format.",
        "Labels are bounded: never a title, an id or a key.\n",
        "| metric | type | labels | meaning |\n|---|---|---|---|",
    ]
    for metric in sorted(catalogue, key=lambda metric: (metric.foreign, metric.name)):
        name = f"{metric.family}{'_total' if metric.kind.value == 'counter' else ''}"
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        lines.append(f"| `{name}` | {metric.kind.value} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"


def _errors(root: type[HeadwaterError] = HeadwaterError) -> Iterator[type[HeadwaterError]]:
    yield root
    for child in root.__subclasses__():
        yield from _errors(child)


def errors_page() -> str:
    """`errors.md`."""
    lines = [
        f"# Errors\n\n{NOTE}",
        "An error answer is `application/problem+json` (RFC 9457): `type` ends in the code, `status` repeats the HTTP status, `detail`",
        "says what is wrong, and `where`, if there, names the field, option or header at fault. The code is stable: it never comes to mean",
        "something else.\n",
        "| code | status | may the same call be repeated | meaning |\n|---|---|---|---|",
    ]
    repeat = {"never": "no", "later": "yes, later: nothing happened", "unknown": "only if it is idempotent: it may have happened"}
    unique: dict[str, type[HeadwaterError]] = {}
    for error in _errors():
        unique.setdefault(error.code, error)  # the class that gave the code its meaning comes before those that share it
    for code, error in sorted(unique.items()):
        meaning = " ".join((error.__doc__ or "").split("\n\n")[0].split()).replace("|", "\\|")
        lines.append(f"| `{code}` | {problem_type(code).status} | {repeat[error.retry.value]} | {meaning} |")
    lines += ["", "Refusals that only HTTP knows:\n", "| code | status | meaning |\n|---|---|---|"]
    lines += [f"| `{code}` | {kind.status} | {kind.title}. |" for code, kind in sorted(HTTP_PROBLEMS.items())]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Every page that is made here, by file name."""
    return {
        "configuration.md": configuration_page(),
        "metrics.md": metrics_page(),
        "errors.md": errors_page(),
        "http-api.md": http_api_page(NOTE),
    }
