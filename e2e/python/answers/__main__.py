"""What DynamoDB answers, request by request: for each area a table of requests with the error, or the part of the
answer, that the service is known to give. Programs match on these, so kind and text are held against it.

    answers URL[,URL...] [AREA...]

Requests go through boto3 without its own validation of parameters, so that what a client may send by hand is answered
too; what boto3 cannot send at all goes over HTTP as it is. Each node answers a part of the areas.
"""

import sys
import time
import traceback

import expressions
import items
import many
import older
import protocol
import tables
from suite import Area, Suite, connect

AREAS = [
    protocol.protocol, protocol.serialization, protocol.constraints,
    tables.creation, tables.description, tables.changes, tables.paid, tables.expiry, tables.tags,
    items.values, items.keys, items.returned, items.indexes, items.capacity,
    expressions.conditions, expressions.placeholders, expressions.projections, expressions.updates,
    older.legacy,
    many.queries, many.scans, many.batches, many.transactions, many.feeds, many.absent,
]


def main():
    urls, only = sys.argv[1].split(","), sys.argv[2:]
    suite = Suite()
    for at, area in enumerate(AREAS):
        if only and area.__name__ not in only:
            continue
        began, before = time.monotonic(), suite.asked
        url = urls[at % len(urls)]
        run = Area(suite, connect(url), url, f"answers.{area.__name__}.")
        try:
            area(run)
            run.clear()
        except Exception as error:  # noqa: BLE001: what else is wrong is still to be seen
            suite.wrong.append(f"{area.__name__} ended: {error!r}\n{traceback.format_exc()}")
        print(f"answers: {area.__name__}: {suite.asked - before} asked, {time.monotonic() - began:.1f} s", flush=True)
    for wrong in suite.wrong:
        print("  " + wrong, file=sys.stderr)
    print(f"answers: {suite.asked - len(suite.wrong)} passed, {len(suite.wrong)} failed", flush=True)
    sys.exit(1 if suite.wrong else 0)


if __name__ == "__main__":
    main()
