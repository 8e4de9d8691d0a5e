"""restore(): its options are the library's own field lists, which the command line is drawn from too."""

import inspect
import json
import os
import pathlib
from collections.abc import Sequence

from . import _pictures, _resflow

TYPES = {"bool": bool, "int": int, "float": float, "str": str, "Sequence[str]": Sequence[str], "Sequence[float]": Sequence[float]}


def restore_options():
    """Every option of restore(): a list of {"name", "type", "default", "help"}, with "choices" where there are."""
    return json.loads(_resflow.restore_options())


OPTIONS = restore_options()


def _plain(value):
    """What JSON has no word for: paths, numpy's and torch's numbers, tuples of them."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        return value.item()
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"restore() got an option of type {type(value).__name__}, which no option has")


def _near(wrong, known):
    import difflib

    near = difflib.get_close_matches(wrong, known, n=3)
    return f". Did you mean {' or '.join(map(repr, near))}?" if near else f". There are: {', '.join(known)}"


def restore(image, *, output=None, report=False, **options):
    known = [option["name"] for option in OPTIONS] + ["output", "report"]
    for name in options:
        if name not in known:
            raise TypeError(f"restore() got an unexpected option {name!r}{_near(name, known)}")
    settings = json.dumps(options, default=_plain)
    _resflow.check_options(settings)
    path = os.fsencode(image) if isinstance(image, (str, bytes, os.PathLike)) else None
    target = None if output is None else _resflow.plan_output(path or b"", os.fsencode(output))
    picture, back = (_resflow.read_picture(path), _pictures.pil_of) if path is not None else _pictures.given(image)
    made = _resflow.restore(picture, settings)
    notes = picture.notes + made.notes
    if target is not None:
        notes += _resflow.write_restored(target, made)
        result = pathlib.Path(target)
    else:
        result = back(made.picture)
    return (result, json.loads(made.report) | {"notes": notes}) if report else result


def _signature():
    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [inspect.Parameter("image", inspect.Parameter.POSITIONAL_OR_KEYWORD), inspect.Parameter("output", keyword, default=None)]
    own.append(inspect.Parameter("report", keyword, default=False, annotation=bool))
    listed = [inspect.Parameter(o["name"], keyword, default=o["default"], annotation=TYPES[o["type"]]) for o in OPTIONS]
    return inspect.Signature(own + listed)


def _line(option):
    choices = f" ({' | '.join(option['choices'])})" if "choices" in option else ""
    return f"    {option['name']}: {option['help']}{choices}"


restore.__signature__ = _signature()
restore.__doc__ = "\n".join(
    [
        "Restores a photograph, as `resflow restore` does: the same options and seed, the same pixels.",
        "",
        "image: a path, a PIL image, a numpy array H x W x 3 (uint8, uint16, or floating point in 0..1) or a torch tensor [3, H, W]. The result is of the",
        "same kind, number type and device; of a path it is a PIL image.",
        "output: write the result to this file (or into this folder, under the source's name) and return its path.",
        "report: return (result, report), the report being what `--json` prints.",
        "",
        "Options:",
        *map(_line, OPTIONS),
    ]
)
