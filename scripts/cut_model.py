"""Extracts the parts of AWS's published data that Waypost uses from botocore's copy (`make model`).

It writes `src/waypost/api/model.json` from the model of Amazon Connect. This file has Waypost's operations, the shapes
that they use, and their constraints, locations and permitted errors. It omits all prose and all other operations.

It writes `src/waypost/domain/directory/partition_table.py` with the names and regions of the partitions. This table
omits endpoints and prose.
"""

import gzip
import json
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

OPERATIONS = [
    "AssociateEmailAddressAlias",
    "CreateEmailAddress",
    "CreateInstance",
    "DeleteEmailAddress",
    "DeleteInstance",
    "DescribeEmailAddress",
    "DescribeInstance",
    "DisassociateEmailAddressAlias",
    "ListInstances",
    "ListTagsForResource",
    "SearchEmailAddresses",
    "TagResource",
    "UntagResource",
    "UpdateEmailAddressMetadata",
]

WAYPOST = Path(__file__).parents[1] / "src" / "waypost"
TARGET = WAYPOST / "api" / "model.json"
PARTITIONS = WAYPOST / "domain" / "directory" / "partition_table.py"


def main() -> None:
    """Write the model and the table of partitions."""
    write_model()
    write_partitions()


def write_partitions() -> None:
    """Write the table of partitions as a Python module, because the domain may not read files."""
    published = json.loads(files("botocore").joinpath("data/partitions.json").read_bytes())["partitions"]
    lines = [
        '"""The AWS partitions, each with its name, the pattern of its region names, and its known regions.',
        "",
        f"The script scripts/cut_model.py generates this file from botocore {metadata.version('botocore')}.",
        '"""',
        "",
        "PARTITIONS = (",
        *(line for partition in published for line in rows_of_partition(partition)),
        ")",
    ]
    PARTITIONS.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{PARTITIONS.name}: {len(published)} partitions")


def rows_of_partition(partition: dict[str, Any]) -> list[str]:
    """Return the lines for one partition, without its `-global` region, which is only for services without a region."""
    regions = sorted(region for region in partition["regions"] if not region.endswith("-global"))
    several = ["        (", *(f'            "{region}",' for region in regions), "        ),"]
    return [
        "    (",
        f'        "{partition["id"]}",',
        f'        r"{partition["regionRegex"]}",',
        *(several if len(regions) > 1 else [f'        ("{regions[0]}",),']),
        "    ),",
    ]


def write_model() -> None:
    """Write the model of Amazon Connect."""
    packed = files("botocore").joinpath("data/connect/2017-08-08/service-2.json.gz").read_bytes()
    published = without_prose(json.loads(gzip.decompress(packed)))
    operations = {name: cut_operation(published["operations"][name]) for name in OPERATIONS}
    roots = [
        shape
        for operation in operations.values()
        for shape in (operation["input"], operation["output"], *operation["errors"])
        if shape
    ]
    shapes = reachable(published["shapes"], roots)
    model = {
        "source": f"botocore {metadata.version('botocore')}, connect 2017-08-08, cut by scripts/cut_model.py",
        "operations": operations,
        "shapes": dict(sorted(shapes.items())),
    }
    TARGET.write_text(json.dumps(model, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{TARGET.name}: {len(operations)} operations, {len(shapes)} shapes, from {model['source']}")


def cut_operation(operation: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of an operation that the wire protocols need."""
    return {
        "method": operation["http"]["method"],
        "uri": operation["http"]["requestUri"],
        "input": operation["input"]["shape"],
        "output": operation.get("output", {}).get("shape"),
        "errors": [error["shape"] for error in operation["errors"]],
    }


def without_prose(value: Any) -> Any:
    """Return the value without `documentation` strings, at any depth. Members with the name `documentation` are
    kept.
    """
    if isinstance(value, dict):
        return {
            key: without_prose(inner)
            for key, inner in value.items()
            if not (key == "documentation" and isinstance(inner, str))
        }
    if isinstance(value, list):
        return [without_prose(inner) for inner in value]
    return value


def reachable(shapes: dict[str, Any], roots: list[str]) -> dict[str, Any]:
    """Return the shapes that can be reached from the shapes in `roots`."""
    found: dict[str, Any] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        shape = found[name] = shapes[name]
        inner = [
            *shape.get("members", {}).values(),
            *(shape[part] for part in ("member", "key", "value") if part in shape),
        ]
        waiting += [reference["shape"] for reference in inner]
    return found


if __name__ == "__main__":
    main()
