"""The parameters from before there were expressions."""

from suite import s, n, l, m, INVALID, EMPTY_KEY, CONDITION, v, sets_sorted


def legacy(a):
    a.table("t", "p:S", "c:N")
    key = {"p": s("k"), "c": n(1)}
    item = {**key, "n": n(5), "s": s("hello"), "ss": {"SS": ["a", "b"]}, "l": l(s("x"), n(1)), "z": {"NULL": True},
        "b": {"B": b"abc"}, "a.b": s("d")}
    a.ok("put_item", Item=item)
    compare = lambda operator, *values: {"ComparisonOperator": operator,
        **({"AttributeValueList": list(values)} if values else {})}
    for name, condition, expected in [
        ("n", compare("EQ", n("5.0")), True), ("n", compare("NE", n(5)), False), ("n", compare("NE", s("5")), True),
        ("nix", compare("NE", n(5)), True), ("nix", compare("EQ", n(5)), False),
        ("n", compare("LT", n(6)), True), ("n", compare("LE", n(5)), True), ("n", compare("GT", n(5)), False),
        ("n", compare("GE", n(5)), True), ("n", compare("GT", s("1")), False), ("nix", compare("LT", n(6)), False),
        ("s", compare("BEGINS_WITH", s("he")), True), ("b", compare("BEGINS_WITH", {"B": b"ab"}), True),
        ("n", compare("BEGINS_WITH", s("5")), False),
        ("s", compare("CONTAINS", s("ll")), True), ("ss", compare("CONTAINS", s("a")), True),
        ("l", compare("CONTAINS", n(1)), True), ("n", compare("CONTAINS", n(5)), False),
        ("s", compare("NOT_CONTAINS", s("zz")), True), ("ss", compare("NOT_CONTAINS", s("a")), False),
        ("n", compare("IN", n(1), n(5)), True), ("n", compare("IN", n(1)), False),
        ("n", compare("BETWEEN", n(5), n(6)), True), ("n", compare("BETWEEN", n(6), n(7)), False),
        ("nix", compare("NULL"), True), ("n", compare("NULL"), False), ("z", compare("NULL"), False),
        ("n", compare("NOT_NULL"), True), ("nix", compare("NOT_NULL"), False),
        ("ss", compare("EQ", {"SS": ["b", "a"]}), True), ("a.b", compare("EQ", s("d")), True),
        ("l", compare("EQ", l(s("x"), n(1))), True), ("z", compare("EQ", {"NULL": True}), True),
    ]:
        got = a.ok("scan", ScanFilter={name: condition}, ConsistentRead=True, Select="COUNT").get("Count")
        a.equal(f"{name} {condition}", got, int(expected))
        call = lambda: a.call("update_item", Key=key, AttributeUpdates={}, Expected={name: condition})
        a.suite.answers(f"expected {name} {condition}",
            call) if expected else a.suite.error(f"expected {name} {condition}", call, CONDITION)
    wrong = lambda operator: f"={INVALID}Invalid number of argument(s) for the {operator} ComparisonOperator"
    for condition, text in [
        (compare("EQ"), None), (compare("EQ", n(1), n(2)), wrong("EQ")), (compare("BETWEEN", n(1)), wrong("BETWEEN")),
        (compare("NULL", n(1)), wrong("NULL")), (compare("NOT_NULL", n(1)), wrong("NOT_NULL")),
        (compare("LT", n(1), n(2)), wrong("LT")), (compare("BETWEEN", n(1), n(2), n(3)), wrong("BETWEEN")),
        (compare("CONTAINS", n(1), n(2)), wrong("CONTAINS")),
        (compare("LT", {"SS": ["a"]}), f"={INVALID}ComparisonOperator LT is not valid for SS AttributeValue type"),
        (compare("GE", {"BOOL": True}), f"={INVALID}ComparisonOperator GE is not valid for BOOL AttributeValue type"),
        (compare("BEGINS_WITH", n(1)),
            f"={INVALID}ComparisonOperator BEGINS_WITH is not valid for N AttributeValue type"),
                (compare("CONTAINS", {"SS": ["a"]}),
                    f"={INVALID}ComparisonOperator CONTAINS is not valid for SS AttributeValue type"),
        (compare("IN", l()), f"={INVALID}ComparisonOperator IN is not valid for L AttributeValue type"),
        (compare("IN", n(1), s("a")), f"={INVALID}AttributeValues inside AttributeValueList must be of same type"),
        (compare("BETWEEN", n(2), n(1)),
            "=The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"),
        (compare("x", n(1)),
            "member.comparisonOperator' failed to satisfy constraint: Member must satisfy enum value set: ["),
    ]:
        if text:
            a.error("put_item", v(text), Item=key, Expected={"n": condition})
            a.error("scan", v(text), ScanFilter={"n": condition})
            a.error("query", v(text), KeyConditions={"p": compare("EQ", s("k"))}, QueryFilter={"n": condition})
    exists = lambda **given: {"n": given}
    for expected, text in [
        (exists(), f"={INVALID}Value must be provided when Exists is null for Attribute: n"),
        (exists(Exists=True), f"={INVALID}Value must be provided when Exists is true for Attribute: n"),
        (exists(Exists=False, Value=n(1)), f"={INVALID}Value cannot be used when Exists is false for Attribute: n"),
        (exists(Exists=True, ComparisonOperator="NULL"),
            f"={INVALID}Exists and ComparisonOperator cannot be used together for Attribute: n"),
        (exists(AttributeValueList=[n(1)]),
            f"={INVALID}AttributeValueList can only be used with a ComparisonOperator for Attribute: n"),
        (exists(Value=n(1), AttributeValueList=[n(1)], ComparisonOperator="EQ"),
            f"={INVALID}Value and AttributeValueList cannot be used together for Attribute: n"),
        (exists(ComparisonOperator="EQ"),
            f"={INVALID}Value or AttributeValueList must be used with ComparisonOperator: EQ for Attribute: n"),
    ]:
        a.error("put_item", v(text), Item=key, Expected=expected)
        a.error("delete_item", v(text), Key=key, Expected=expected)
    empty = v("=Empty attribute name")
    a.error("put_item", empty, Item={**key, "": n(1)})
    a.error("put_item", empty, Item=key, Expected={"": {"Value": n(1)}})
    a.error("update_item", empty, Key=key, AttributeUpdates={"": {"Value": n(1)}})
    a.error("scan", empty, ScanFilter={"": compare("EQ", n(1))})
    a.error("query", empty, KeyConditions={"p": compare("EQ", s("k"))}, QueryFilter={"": compare("EQ", n(1))})
    two = {"n": {"Value": n(5)}, "s": {"Value": s("no")}}
    a.error("update_item", CONDITION, Key=key, AttributeUpdates={}, Expected=two)
    a.ok("update_item", Key=key, AttributeUpdates={}, Expected=two, ConditionalOperator="OR")
    a.error("update_item", CONDITION, Key=key, AttributeUpdates={}, Expected={"n": {"Exists": False}})
    a.ok("update_item", Key=key, AttributeUpdates={},
        Expected={"nix": {"Exists": False}, "n": {"Exists": True, "Value": n(5)}})
    a.error("put_item", v("=ConditionalOperator cannot be used without Filter or Expected"), Item=key,
        ConditionalOperator="OR")
    a.error("put_item", v("=ConditionalOperator can only be used when Filter or Expected has two or more elements"),
        Item=key, ConditionalOperator="OR", Expected={"n": {"Value": n(5)}})
    a.error("scan", v("=ConditionalOperator cannot be used without Filter or Expected"), ConditionalOperator="OR")
    a.equal("or",
        a.ok("scan", ScanFilter={"n": compare("EQ", n(1)), "s": compare("NOT_NULL")}, ConditionalOperator="OR",
            ConsistentRead=True).get("Count"), 1)

    # AttributeUpdates.
    change = lambda action=None, value=None: {**({"Action": action} if action else {}),
        **({"Value": value} if value else {})}
    for updates, expected in [
        ({"n": change(None, n(1))}, {"n": n(1)}), ({"n": change("PUT", s("x"))}, {"n": s("x")}),
        ({"n": change("ADD", n(2))}, {"n": n(7)}), ({"q": change("ADD", n(2))}, {"q": n(2)}),
        ({"n": change("DELETE")}, {"n": None}),
        ({"ss": change("ADD", {"SS": ["c"]})}, {"ss": {"SS": ["a", "b", "c"]}}),
        ({"ss": change("DELETE", {"SS": ["a"]})}, {"ss": {"SS": ["b"]}}),
        ({"ss": change("DELETE", {"SS": ["a", "b"]})}, {"ss": None}),
        ({"l": change("ADD", l(n(2)))}, {"l": l(s("x"), n(1), n(2))}), ({"q": change("ADD", l(n(2)))}, {"q": l(n(2))}),
        ({"nix": change("DELETE")}, {}), ({"x.y": change("PUT", n(1))}, {"x.y": n(1)}),
        ({"nix": change("DELETE", {"SS": ["a"]})}, {}),
    ]:
        a.ok("put_item", Item=item)
        got = a.ok("update_item", Key=key, AttributeUpdates=updates, ReturnValues="ALL_NEW").get("Attributes")
        a.equal(f"{updates}", sets_sorted(got),
            sets_sorted({k: v for k, v in {**item, **expected}.items() if v is not None}))
    for updates, text in [
        ({"n": change("PUT")}, f"={INVALID}Only DELETE action is allowed when no attribute value is specified"),
        ({"n": change("ADD")}, f"={INVALID}Only DELETE action is allowed when no attribute value is specified"),
        ({"n": change()}, f"={INVALID}Only DELETE action"),
        ({"n": change("ADD", s("x"))}, f"={INVALID}ADD action is not supported for the type S"),
        ({"n": change("ADD", m())}, f"={INVALID}ADD action is not supported for the type M"),
        ({"n": change("DELETE", n(1))}, f"={INVALID}DELETE action with value is not supported for the type N"),
        ({"n": change("x", n(1))},
            "at 'attributeUpdates.n.member.action' failed to satisfy constraint: Member must satisfy enum value set: "
            "[ADD, DELETE, PUT]"), ({"p": change("PUT", s("x"))}, f"={INVALID}Cannot update attribute p. This "
                f"attribute is part of the key"),
        ({"s": change("ADD", n(1))}, "=Type mismatch for attribute to update"),
        ({"n": change("ADD", {"SS": ["a"]})}, "=Type mismatch for attribute to update"),
        ({"ss": change("DELETE", {"NS": ["1"]})}, "=Type mismatch for attribute to update"),
    ]:
        a.error("update_item", v(text if "Only DELETE action" not in text else text[1:]), Key=key,
            AttributeUpdates=updates)

    # KeyConditions and QueryFilter.
    for at in range(1, 10):
        a.ok("put_item", Item={**key, "c": n(at), "n": n(at * 10)})
    on = lambda *condition: {"p": compare("EQ", s("k")), **({"c": compare(*condition)} if condition else {})}
    for condition, expected in [((), range(1, 10)), (("EQ", n(3)), [3]), (("LT", n(3)), [1, 2]),
        (("LE", n(2)), [1, 2]), (("GT", n(8)), [9]), (("GE", n(8)), [8, 9]), (("BETWEEN", n(3), n(5)), [3, 4, 5])]:
        got = [int(i["c"]["N"]) for i in a.ok("query", KeyConditions=on(*condition), ConsistentRead=True).get("Items",
            [])]
        a.equal(f"keys {condition}", got, list(expected))
    got = a.ok("query", KeyConditions=on(), QueryFilter={"n": compare("GT", n(70))}, ConsistentRead=True)
    a.equal("filtered", (got.get("Count"), got.get("ScannedCount")), (2, 9))
    for conditions, text in [
        ({}, "=Conditions can be of length 1 or 2 only"),
        ({**on("EQ", n(1)), "x": compare("EQ", n(1))}, "=Conditions can be of length 1 or 2 only"),
        ({"p": compare("LT", s("k"))}, "=Query key condition not supported"),
        ({"p": compare("BEGINS_WITH", s("k"))}, "=Query key condition not supported"),
        ({"c": compare("EQ", n(1))}, "=Query condition missed key schema element: p"),
        ({**on(), "x": compare("EQ", n(1))}, "=Query condition missed key schema element: c"),
        (on("NE", n(1)), "=Attempted conditional constraint is not an indexable operation"),
        (on("CONTAINS", n(1)), "=Attempted conditional constraint is not an indexable operation"),
        (on("IN", n(1), n(2)), "=Attempted conditional constraint is not an indexable operation"),
        (on("NOT_NULL"), "=Attempted conditional constraint is not an indexable operation"),
        (on("EQ", s("1")), f"={INVALID}Condition parameter type does not match schema type"),
        ({"p": compare("EQ", n(1))}, f"={INVALID}Condition parameter type does not match schema type"),
        (on("BETWEEN", n(2), n(1)),
            "=The BETWEEN condition was provided a range where the lower bound is greater than the upper bound"),
        (on("BEGINS_WITH", s("1")), f"={INVALID}Condition parameter type does not match schema type"),
        ({"p": compare("EQ", s(""))}, EMPTY_KEY + "string value. Key: p"), (on("EQ"), wrong("EQ")[1:]),
    ]:
        a.error("query", v(text), KeyConditions=conditions)
    a.error("query", v("=QueryFilter can only contain non-primary key attributes: Primary key attribute: c"),
        KeyConditions=on(), QueryFilter={"c": compare("EQ", n(1))})
    a.equal("a filter of keys in a scan",
        a.ok("scan", ScanFilter={"c": compare("EQ", n(3))}, ConsistentRead=True).get("Count"), 1)
