"""``fphi experiment NAME``: one of the lecture's experiments, as a picture and a JSON."""

import json
from pathlib import Path

from fphi.experiments.parts.trainings import StoppedError
from fphi.experiments.running import OUT, Asked
from fphi.experiments.table import experiments
from fphi.run.show.say import say

__all__ = ["run"]


def run(arguments: list[str]) -> int:
    """List the experiments, or run one and print what was found."""
    if not arguments or arguments in (["-h"], ["--help"]):
        lines = "\n".join(f"  {name:<20}{cls.about}" for name, cls in experiments().items())
        print(f"usage: fphi experiment NAME [options]\n\nexperiments:\n{lines}")
        print("\nfphi experiment NAME --help lists its options.")
        return 0
    name = arguments[0]
    parser = Asked.parser(name)
    parser.add_option("--out", Path, OUT, "folder of pictures, JSON and trainings; the same folder goes on")
    parser.add_argument("--json", action="store_true", help="print the JSON in place of the findings")
    values = parser.read(arguments[1:]).as_dict()
    out, as_json = values["out"], values["json"]
    try:
        record = Asked.of(name, values).run(out, progress=True)
    except StoppedError as stopped:
        say(f"stopped {stopped}; the same command goes on")
        return 130
    found = [*record["findings"], str(out / record["picture"]), str(out / f"{name}.json")]
    print(json.dumps(record) if as_json else "\n".join(found))
    return 0
