"""Expressions: conditions and filters, placeholders, projections, updates."""

from suite import s, n, l, m, INVALID, CONDITION, v, sets_sorted


def conditions(a):
    """Which conditions hold for an item, and which are none."""
    a.table()
    item = {
        "p": s("k"), "s": s("hello"), "n": n(10), "b": {"B": b"abc"}, "t": {"BOOL": True}, "f": {"BOOL": False},
        "z": {"NULL": True},
        "l": l(s("x"), n(1), l(n(2)), m(a=s("deep"))), "m": m(a=n(1), b=l(s("y"))), "ss": {"SS": ["a", "b"]},
        "ns": {"NS": ["1", "2"]},
        "bs": {"BS": [b"a", b"b"]}, "e": s(""), "dot.ted": s("d"), "n2": n(10), "el": l(),
        "u": s("é𝄞"), "k": s("中中"),
    }
    a.ok("put_item", Item=item)

    def holds(expected, expression, values=None, **names):
        more = {"ExpressionAttributeValues": values} if values else {}
        if names:
            more["ExpressionAttributeNames"] = {"#" + k: v for k, v in names.items()}
        got = a.ok("scan", FilterExpression=expression, ConsistentRead=True, Select="COUNT", **more).get("Count")
        a.equal(f"{expression} {values or ''}", got, int(expected))
        call = lambda: a.call("update_item", Key={"p": s("k")}, ConditionExpression=expression, **more)
        if expected:
            a.suite.answers(f"condition {expression}", call)
        else:
            a.suite.error(f"condition {expression}", call, CONDITION)

    x = lambda value: {":x": value}
    for expected, expression, given in [
        (True, "s = :x", x(s("hello"))), (False, "s = :x", x(s("Hello"))), (False, "s = :x", x(n(10))),
        (True, "n = :x", x(n("10.0"))), (True, "n = n2", None), (False, "n = s", None), (True, "n <> s", None),
        (False, "nix = :x", x(s("a"))), (True, "nix <> :x", x(s("a"))), (False, "nix < :x", x(s("a"))),
        (False, "nix >= :x", x(s("a"))),
        (True, "n < :x", x(n("10.5"))), (False, "n < :x", x(s("9"))), (True, "n >= :x", x(n(10))),
        (True, "n > :x", x(n("-1e100"))),
        (True, "s < :x", x(s("help"))), (True, "s > :x", x(s("Z"))), (True, "b > :x", x({"B": b"ab"})),
        (True, ":x < s", x(s("a"))),
        (True, "t = :x", x({"BOOL": True})), (False, "f = :x", x({"BOOL": True})), (True, "z = :x", x({"NULL": True})),
        (True, "ss = :x", x({"SS": ["b", "a"]})), (False, "ss = :x", x({"SS": ["a"]})),
        (True, "ns = :x", x({"NS": ["2", "1.0"]})),
        (True, "m = :x", x(m(b=l(s("y")), a=n(1)))), (True, "el = :x", x(l())), (False, "l = :x", x(l(s("x")))),
        (True, "l <> :x", x(l())),
        (True, "n BETWEEN :x AND :y", {":x": n(10), ":y": n(11)}),
        (False, "n BETWEEN :x AND :y", {":x": n(11), ":y": n(12)}),
        (True, ":x BETWEEN n AND n2", x(n(10))), (False, "s BETWEEN :x AND :y", {":x": n(1), ":y": n(2)}),
        (True, "n IN (:x, :y)", {":x": n(1), ":y": n(10)}), (False, "n IN (:x)", x(s("10"))),
        (True, ":x IN (n, s)", x(s("hello"))),
        (False, "nix IN (:x)", x(n(1))), (True, "ss IN (:x)", x({"SS": ["b", "a"]})),
        (True, "attribute_exists(s)", None), (False, "attribute_exists(nix)", None),
        (True, "attribute_not_exists(nix)", None),
        (True, "attribute_exists(z)", None), (True, "attribute_exists(m.a)", None),
        (False, "attribute_exists(m.nix)", None),
        (True, "attribute_exists(l[3].a)", None), (False, "attribute_exists(l[4])", None),
        (False, "attribute_exists(s.a)", None),
        (False, "attribute_exists(m[0])", None), (True, "attribute_not_exists(s[0])", None),
        (True, "attribute_exists(l[2][0])", None),
        *[(True, f"attribute_type({name}, :x)", x(s(kind))) for name, kind in [
            ("s", "S"), ("n", "N"), ("b", "B"), ("t", "BOOL"), ("z", "NULL"), ("l", "L"), ("m", "M"), ("ss", "SS"),
            ("ns", "NS"), ("bs", "BS")]],
        (False, "attribute_type(s, :x)", x(s("N"))), (False, "attribute_type(nix, :x)", x(s("N"))),
        (True, "attribute_type(m.a, :x)", x(s("N"))),
        (True, "begins_with(s, :x)", x(s("hel"))), (True, "begins_with(s, :x)", x(s(""))),
        (False, "begins_with(s, :x)", x({"B": b"hel"})),
        (True, "begins_with(b, :x)", x({"B": b"ab"})), (False, "begins_with(n, :x)", x(s("1"))),
        (False, "begins_with(nix, :x)", x(s("1"))),
        (True, "contains(s, :x)", x(s("ell"))), (False, "contains(s, :x)", x(n(1))),
        (True, "contains(b, :x)", x({"B": b"bc"})),
        (True, "contains(ss, :x)", x(s("a"))), (False, "contains(ss, :x)", x(s("c"))),
        (True, "contains(ns, :x)", x(n("2.0"))),
        (True, "contains(bs, :x)", x({"B": b"b"})), (True, "contains(l, :x)", x(n(1))),
        (True, "contains(l, :x)", x(l(n(2)))),
        (False, "contains(m, :x)", x(s("a"))), (False, "contains(ss, :x)", x({"SS": ["a"]})),
        (True, "contains(:x, s)", x(l(s("hello")))),
        (False, "contains(nix, :x)", x(s("a"))), (True, "contains(m.b, :x)", x(s("y"))),
        (False, "contains(n, :x)", x(n(1))),
        *[(True, f"size({name}) = :x", x(n(size))) for name, size in [
            ("s", 5), ("b", 3), ("l", 4), ("m", 2), ("ss", 2), ("ns", 2), ("bs", 2), ("e", 0), ("el", 0), ("m.b", 1),
            ("l[0]", 1)]],
        (True, "size(u) = :x", x(n(3))), (False, "size(u) = :x", x(n(6))), (True, "size(k) = :x", x(n(2))),
        (False, "size(n) = :x", x(n(2))), (False, "size(t) = :x", x(n(1))), (False, "size(nix) = :x", x(n(0))),
        (False, "size(nix) <> :y AND nix = :y", {":y": n(1)}),
        (True, "size(s) > size(b)", None), (True, "size(s) IN (:x, :y)", {":x": n(1), ":y": n(5)}),
        (True, "size(s) BETWEEN :x AND :y", {":x": n(1), ":y": n(5)}),
        (True, "NOT nix = :x", x(n(1))), (True, "NOT (s = :x AND n = :x)", x(s("hello"))),
        (True, "NOT NOT s = :x", x(s("hello"))),
        (True, "s = :x OR s = :x AND n = :x", x(s("hello"))), (False, "(s = :x OR s = :x) AND n = :x", x(s("hello"))),
        (True, "not s <> :x", x(s("hello"))), (True, "s = :x and n IN (n2)", x(s("hello"))),
        (True, "n between :y And :y oR s = :y", {":y": n(10)}),
        (True, "l[3].a = :x", x(s("deep"))), (True, "m.b[0]=:x", x(s("y"))), (True, "(s) = (:x)", x(s("hello"))),
        (True, "\n s\t=\r:x ", x(s("hello"))),
    ]:
        holds(expected, expression, given)
    holds(True, "#d = :x", x(s("d")), d="dot.ted")
    holds(True, "#m.#a = :x", x(n(1)), m="m", a="a")
    holds(False, "#d = :x", x(n(1)), d="m.a")

    function = "Incorrect operand type for operator or function; operator or function: "
    distinct = (
        "The first operand must be distinct from the remaining operands for this operator or function; operator: "
    )
    for expression, text, given in [
        ("", "The expression can not be empty;", None),
        ("s", 'Syntax error; token: "<EOF>", near: "s"', None),
        ("s = = :x", 'Syntax error; token: "=", near: "= = :x"', x(s("a"))),
        ("s == :x", "Syntax error", x(s("a"))), ("s != :x", "Syntax error", x(s("a"))),
        ("s = 'a'", "Syntax error", None), ("s = 1", "Syntax error", None),
        ("(s = :x", "Syntax error", x(s("a"))), ("s = :x)", "Syntax error", x(s("a"))),
        ("s = :x :x", "Syntax error", x(s("a"))), ("s.1a = :x", "Syntax error", x(s("a"))),
        ("l[a] = :x", "Syntax error", x(s("a"))), ("l[-1] = :x", "Syntax error", x(s("a"))),
        ("s[] = :x", "Syntax error", x(s("a"))), ("1s = :x", "Syntax error", x(s("a"))),
        ("_s = :x", "Syntax error", x(s("a"))), ("s-t = :x", "Syntax error", x(s("a"))),
        ("s = :x AND", "Syntax error", x(s("a"))), ("AND s = :x", "Syntax error", x(s("a"))),
        ("s IN ()", "Syntax error", None), ("s BETWEEN :x", "Syntax error", x(s("a"))), ("NOT", "Syntax error", None),
        ("attribute_exists()", "Syntax error", None),
        ("((s = :x))", "The expression has redundant parentheses;", x(s("a"))),
        ("((s)) = :x", "The expression has redundant parentheses;", x(s("a"))),
        ("name = :x", "Attribute name is a reserved keyword; reserved keyword: name", x(s("a"))),
        ("s.Value = :x", "Attribute name is a reserved keyword; reserved keyword: Value", x(s("a"))),
        ("l[99999999999] = :x", "List index is not within the allowable range; index: [99999999999]", x(s("a"))),
        ("#s = :x", "An expression attribute name used in the document path is not defined; attribute name: #s",
            x(s("a"))),
        ("s = :y", "An expression attribute value used in expression is not defined; attribute value: :y", None),
        ("nothing(s)", "Invalid function name; function: nothing", None),
        ("Size(s) = :x", "Invalid function name; function: Size", x(n(1))),
        ("size(s)", "The function is not allowed to be used this way in an expression; function: size", None),
        ("contains(s, :x) = :x",
            "The function is not allowed to be used this way in an expression; function: contains", x(s("a"))),
        ("s = attribute_exists(s)",
            "The function is not allowed to be used this way in an expression; function: attribute_exists", None),
        ("if_not_exists(s, :x) = :x", "The function is not allowed in a condition expression; function: if_not_exists",
            x(s("a"))),
        ("attribute_exists(s, n)",
            "Incorrect number of operands for operator or function; operator or function: attribute_exists, number of "
            "operands: 2", None),
        ("contains(s)",
            "Incorrect number of operands for operator or function; operator or function: contains, number of "
            "operands: 1", None),
        ("attribute_exists(:x)",
            "Operator or function requires a document path; operator or function: attribute_exists", x(s("a"))),
        ("attribute_type(:x, :x)",
            "Operator or function requires a document path; operator or function: attribute_type", x(s("S"))),
        ("attribute_type(s, :x)", "Invalid attribute type name found; type: X, valid types: {", x(s("X"))),
        ("attribute_type(s, :x)", "Invalid attribute type name found; type: s, valid types: {", x(s("s"))),
        ("attribute_type(s, :x)", f"{function}attribute_type, operand type: N", x(n(1))),
        ("attribute_type(s, n)", f"{function}attribute_type, operand type: {{", None),
        ("begins_with(s, :x)", f"{function}begins_with, operand type: N", x(n(1))),
        ("begins_with(:x, s)", f"{function}begins_with, operand type: SS", x({"SS": ["a"]})),
        ("s < :x", f"{function}<, operand type: BOOL", x({"BOOL": True})),
        ("s >= :x", f"{function}>=, operand type: M", x(m())),
        (":x <= s", f"{function}<=, operand type: NS", x({"NS": ["1"]})),
        ("s BETWEEN :x AND :x", f"{function}BETWEEN, operand type: L", x(l())),
        ("size(:x) = :x", f"{function}size, operand type: N", x(n(1))),
        ("n BETWEEN :x AND :y",
            "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound "
            "operand: AttributeValue: {N:2}, upper bound operand: AttributeValue: {N:1}", {":x": n(2), ":y": n(1)}),
        ("n BETWEEN :x AND :y",
            "The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: "
            "AttributeValue: {N:2}, upper bound operand: AttributeValue: {S:a}", {":x": n(2), ":y": s("a")}),
        ("s = s", f"{distinct}=, first operand: [s]", None),
        ("m.b[0] <> m.b[0]", f"{distinct}<>, first operand: [m, b, [0]]", None),
        ("s IN (n, s)", f"{distinct}IN, first operand: [s]", None),
        ("contains(s, s)", f"{distinct}contains, first operand: [s]", None),
        ("n IN (" + ", ".join([":x"] * 101) + ")",
            "The IN operator is provided with too many operands; number of operands: 101", x(n(1))),
        (" OR ".join(["s = :x"] * 151), "The expression contains too many operators; operator count: 301", x(s("a"))),
        ("s = :x OR s = :" + "x" * 4096,
            "Expression size has exceeded the maximum allowed size; expression size: 4111", None),
        ("a" + ".b" * 32 + " = :x", "The document path has too many nesting levels; nesting levels: 33", x(s("a"))),
    ]:
        more = {"ExpressionAttributeValues": given} if given else {}
        a.error("put_item", v("Invalid ConditionExpression: " + text), Item={"p": s("k")},
            ConditionExpression=expression, **more)
        a.error("delete_item", v("Invalid ConditionExpression: " + text), Key={"p": s("k")},
            ConditionExpression=expression, **more)
        a.error("scan", v("Invalid FilterExpression: " + text), FilterExpression=expression, **more)
        a.error("transact_write_items", v("Invalid ConditionExpression: " + text), TransactItems=[
            {"ConditionCheck": {"TableName": a.tables[-1], "Key": {"p": s("k")}, "ConditionExpression": expression,
                **more}}])
    a.ok("put_item", Item={"p": s("k")},
        ConditionExpression="attribute_exists(p) AND n IN (" + ", ".join([":x"] * 100) + ")",
         ExpressionAttributeValues={":x": n(10)})
    a.ok("scan", FilterExpression=" OR ".join(["s = :x"] * 150), ExpressionAttributeValues=x(s("a")))
    a.error("put_item",
        v("=Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: Key: p"),
            Item={"p": s("k")}, ConditionExpression="p.a = :x", ExpressionAttributeValues=x(s("a")))


def placeholders(a):
    a.table()
    key = {"p": s("a")}
    for text, operation, params in [
        ("=Value provided in ExpressionAttributeValues unused in expressions: keys: {:y}", "put_item",
         dict(Item=key, ConditionExpression="p = :x", ExpressionAttributeValues={":x": s("a"), ":y": s("b")})),
        ("=Value provided in ExpressionAttributeNames unused in expressions: keys: {#y}", "put_item",
         dict(Item=key, ConditionExpression="#x = :x", ExpressionAttributeNames={"#x": "p", "#y": "q"},
             ExpressionAttributeValues={":x": s("a")})),
        ("=Value provided in ExpressionAttributeNames unused in expressions: keys: {#y}", "get_item",
         dict(Key=key, ProjectionExpression="p", ExpressionAttributeNames={"#y": "q"})),
        ("=Value provided in ExpressionAttributeValues unused in expressions: keys: {:y}", "update_item",
         dict(Key=key, UpdateExpression="REMOVE x", ExpressionAttributeValues={":y": s("b")})),
        ("=Value provided in ExpressionAttributeValues unused in expressions: keys: {:y}", "scan",
         dict(FilterExpression="attribute_exists(p)", ExpressionAttributeValues={":y": s("b")})),
        ("=Value provided in ExpressionAttributeValues unused in expressions: keys: {:y}", "query",
         dict(KeyConditionExpression="p = :x", ExpressionAttributeValues={":x": s("a"), ":y": s("b")})),
        ("=ExpressionAttributeNames can only be specified when using expressions", "get_item",
            dict(Key=key, ExpressionAttributeNames={"#x": "p"})),
        ("=ExpressionAttributeNames can only be specified when using expressions", "scan",
            dict(ExpressionAttributeNames={"#x": "p"})),
        ("=ExpressionAttributeValues can only be specified when using expressions: ConditionExpression is null",
            "put_item",
         dict(Item=key, ExpressionAttributeValues={":x": s("a")})),
        ("=ExpressionAttributeValues can only be specified when using expressions: UpdateExpression and "
         "ConditionExpression are null", "update_item",
         dict(Key=key, ExpressionAttributeValues={":x": s("a")})),
        ("=ExpressionAttributeValues can only be specified when using expressions: FilterExpression is null", "scan",
         dict(ExpressionAttributeValues={":x": s("a")})),
        ("=ExpressionAttributeValues can only be specified when using expressions: FilterExpression and "
         "KeyConditionExpression are null", "query",
         dict(ExpressionAttributeValues={":x": s("a")})),
        ("=ExpressionAttributeNames must not be empty", "get_item",
            dict(Key=key, ProjectionExpression="p", ExpressionAttributeNames={})),
        ("=ExpressionAttributeValues must not be empty", "put_item",
            dict(Item=key, ConditionExpression="attribute_exists(p)", ExpressionAttributeValues={})),
        *[(f'=ExpressionAttributeNames contains invalid key: Syntax error; key: "{k}"', "get_item",
            dict(Key=key, ProjectionExpression="p", ExpressionAttributeNames={k: "p"}))
          for k in ["x", "#", "#a.b", "#a b", ":x", "#ü"]],
        *[(f'=ExpressionAttributeValues contains invalid key: Syntax error; key: "{k}"', "put_item",
           dict(Item=key, ConditionExpression="p = :x", ExpressionAttributeValues={k: s("a")})) for k in ["x", ":",
               ":a.b", "#x", "::x"]],
        ("The expression attribute map contains a key that is too long", "get_item",
            dict(Key=key, ProjectionExpression="p", ExpressionAttributeNames={"#" + "x" * 255: "p"})),
        ("ExpressionAttributeNames contains invalid value: Empty attribute name for key #x", "get_item",
            dict(Key=key, ProjectionExpression="#x", ExpressionAttributeNames={"#x": ""})),
        ("=Can not use both expression and non-expression parameters in the same request: Non-expression parameters: "
         "{Expected} Expression parameters: {ConditionExpression}",
         "put_item", dict(Item=key, Expected={}, ConditionExpression="attribute_exists(p)")),
        ("Non-expression parameters: {ConditionalOperator} Expression parameters: {ConditionExpression}", "put_item",
         dict(Item=key, ConditionalOperator="AND", ConditionExpression="attribute_exists(p)")),
        ("Non-expression parameters: {AttributeUpdates} Expression parameters: {UpdateExpression}", "update_item",
            dict(Key=key, AttributeUpdates={}, UpdateExpression="SET x = :x")),
        ("Non-expression parameters: {AttributeUpdates} Expression parameters: {ConditionExpression}", "update_item",
            dict(Key=key, AttributeUpdates={}, ConditionExpression="p = :x")),
        ("Non-expression parameters: {AttributesToGet} Expression parameters: {ProjectionExpression}", "get_item",
            dict(Key=key, AttributesToGet=["p"], ProjectionExpression="p")),
        ("Non-expression parameters: {AttributesToGet} Expression parameters: {FilterExpression}", "scan",
            dict(AttributesToGet=["p"], FilterExpression="attribute_exists(p)")),
        ("Non-expression parameters: {QueryFilter} Expression parameters: {KeyConditionExpression}", "query",
            dict(QueryFilter={}, KeyConditionExpression="p = :x")),
        ("Non-expression parameters: {KeyConditions} Expression parameters: {KeyConditionExpression}", "query",
            dict(KeyConditions={}, KeyConditionExpression="p = :x")),
        ("Non-expression parameters: {ScanFilter} Expression parameters: {ProjectionExpression, FilterExpression}",
            "scan",
         dict(ScanFilter={}, FilterExpression="attribute_exists(p)", ProjectionExpression="p")),
    ]:
        a.error(operation, v(text), **params)
    a.ok("put_item", Item={**key, "x": s("y")}, ConditionExpression="#a = :a OR #a <> :a",
        ExpressionAttributeNames={"#a": "x"}, ExpressionAttributeValues={":a": s("a")})
    a.ok("query", KeyConditionExpression="#p = :p", FilterExpression="#x = :x", ProjectionExpression="#x, #p",
         ExpressionAttributeNames={"#p": "p", "#x": "x"}, ExpressionAttributeValues={":p": s("a"), ":x": s("y")})
    a.equal("placeholders begin with digits too",
        a.ok("get_item", Key=key, ProjectionExpression="#0",
            ExpressionAttributeNames={"#0": "x"}).get("Item"), {"x": s("y")})


def projections(a):
    a.table()
    key = {"p": s("k")}
    item = {**key, "a": n(1), "m": m(x=n(1), y=m(z=n(2), w=n(3))),
        "l": l(n(0), m(u=n(1), t=n(2)), l(n(5), n(6)), n(3)), "a.b": s("dot"), "name": s("n")}
    a.ok("put_item", Item=item)

    def part(expression, expected, **names):
        more = {"ExpressionAttributeNames": {"#" + k: v for k, v in names.items()}} if names else {}
        a.equal(f"part {expression}",
            a.ok("get_item", Key=key, ConsistentRead=True, ProjectionExpression=expression,
                **more).get("Item"), expected)
        a.equal(f"scanned {expression}",
            a.ok("scan", ConsistentRead=True, ProjectionExpression=expression, **more).get("Items"), [expected])

    part("a", {"a": n(1)})
    part("a, p", {"a": n(1), **key})
    part("nix", {})
    part("nix,m.nix,l[9]", {})
    part("m.x", {"m": m(x=n(1))})
    part("m.y.z, m.x", {"m": m(x=n(1), y=m(z=n(2)))})
    part("l[1].t", {"l": l(m(t=n(2)))})
    part("l[3], l[0]", {"l": l(n(0), n(3))})
    part("l[2][1], l[0]", {"l": l(n(0), l(n(6)))})
    part("#d", {"a.b": s("dot")}, d="a.b")
    part("#n", {"name": s("n")}, n="name")
    part("m.#y.z", {"m": m(y=m(z=n(2)))}, y="y")
    overlap = "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: "
    for expression, text in [
        ("", "The expression can not be empty;"), ("a,", "Syntax error; token: \"<EOF>\""), (",a", "Syntax error"),
        ("a b", "Syntax error"), ("a.", "Syntax error"), ("a[", "Syntax error"),
        ("a[x]", "Syntax error"), ("a..b", "Syntax error"), ("[0]", "Syntax error"), (":a", "Syntax error"),
        ("a = b", "Syntax error"), ("size(a)", "Syntax error"), ("a[0", "Syntax error"),
        ("name", "Attribute name is a reserved keyword; reserved keyword: name"),
        ("#x", "An expression attribute name used in the document path is not defined; attribute name: #x"),
        ("a, a", f"{overlap}[a], path two: [a]"), ("m.x, m", f"{overlap}[m, x], path two: [m]"),
        ("m, m.x", f"{overlap}[m], path two: [m, x]"), ("l[0], l[0]", f"{overlap}[l, [0]], path two: [l, [0]]"),
        ("m.x, m[0]",
            "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: [m, x], "
            "path two: [m, [0]]"),
        ("a" + ".b" * 32, "The document path has too many nesting levels; nesting levels: 33"),
    ]:
        a.error("get_item", v("Invalid ProjectionExpression: " + text), Key=key, ProjectionExpression=expression)
        a.error("scan", v("Invalid ProjectionExpression: " + text), ProjectionExpression=expression)
        a.error("batch_get_item", v("Invalid ProjectionExpression: " + text),
            RequestItems={a.tables[-1]: {"Keys": [key], "ProjectionExpression": expression}})
    a.table("keyed", "p:S", gsi=[("glo", "g:S", None, "ALL")])
    scalars = "=Key attributes must be scalars; list random access '[]' and map lookup '.' are not allowed: "
    for path, what in [("p.x", "Key: p"), ("p[0]", "Key: p"), ("g.x", "IndexKey: g")]:
        a.error("get_item", v(scalars + what), Key=key, ProjectionExpression=path)
        a.error("scan", v(scalars + what), ProjectionExpression=path)
        a.error("scan", v(scalars + what), FilterExpression=f"attribute_exists({path})")
    a.tables.append(a.tables.pop(0))
    # The older parameter names whole attributes.
    for names, expected in [(["a"], {"a": n(1)}), (["a.b", "nix"], {"a.b": s("dot")}), (["m.x"], {}),
        (["name", "p"], {"name": s("n"), **key})]:
        a.equal(f"attributes {names}", a.ok("get_item", Key=key, AttributesToGet=names).get("Item"), expected)
    a.error("get_item",
        v("at 'attributesToGet' failed to satisfy constraint: Member must have length greater than or equal to 1"),
            Key=key, AttributesToGet=[])
    a.error("get_item", v(f"={INVALID}Duplicate value in attribute name: a"), Key=key, AttributesToGet=["a", "a"])


def updates(a):
    a.table()
    key = {"p": s("k")}
    item = {**key, "n": n(1), "s": s("x"), "l": l(n(0), n(1), n(2), n(3)), "m": m(a=n(1), b=l(n(1))),
        "ss": {"SS": ["a", "b"]}, "ns": {"NS": ["1"]}, "e": l()}
    x = lambda value: {":x": value}

    def becomes(expression, values, expected):
        a.ok("put_item", Item=item)
        more = {"ExpressionAttributeValues": values} if values else {}
        got = a.ok("update_item", Key=key, UpdateExpression=expression, ReturnValues="ALL_NEW",
            **more).get("Attributes")
        wanted = {name: value for name, value in {**item, **expected}.items() if value is not None}
        a.equal(f"{expression}", sets_sorted(got), sets_sorted(wanted))

    for expression, given, expected in [
        ("SET n = :x", x(n(2)), {"n": n(2)}), ("set n = :x", x(n(2)), {"n": n(2)}),
        ("SET n = n + :x", x(n("0.5")), {"n": n("1.5")}), ("SET n = :x - n", x(n(3)), {"n": n(2)}),
        ("SET n = n + n", None, {"n": n(2)}), ("SET n = (n + :x)", x(n(1)), {"n": n(2)}),
        ("SET n = n-:x", x(n("1e2")), {"n": n(-99)}),
        ("SET q = n, n = :x", x(n(5)), {"q": n(1), "n": n(5)}), ("SET n = s, s = n", None, {"n": s("x"), "s": n(1)}),
        ("SET q = if_not_exists(q, :x)", x(n(5)), {"q": n(5)}), ("SET n = if_not_exists(n, :x)", x(n(5)), {}),
        ("SET n = if_not_exists(q, :x) + :x", x(n(5)), {"n": n(10)}),
        ("SET q = if_not_exists(n, s)", None, {"q": n(1)}),
        ("SET q = if_not_exists(z, if_not_exists(y, :x))", x(n(5)), {"q": n(5)}),
        ("SET m.c = if_not_exists(m.a, :x)", x(n(5)), {"m": m(a=n(1), b=l(n(1)), c=n(1))}),
        ("SET l = list_append(l, :x)", x(l(s("z"))), {"l": l(n(0), n(1), n(2), n(3), s("z"))}),
        ("SET l = list_append(:x, l)", x(l(s("z"))), {"l": l(s("z"), n(0), n(1), n(2), n(3))}),
        ("SET q = list_append(if_not_exists(q, :x), :x)", x(l(n(1))), {"q": l(n(1), n(1))}),
        ("SET q = list_append(l, m.b)", None, {"q": l(n(0), n(1), n(2), n(3), n(1))}),
        ("SET l[1] = :x", x(s("y")), {"l": l(n(0), s("y"), n(2), n(3))}),
        ("SET l[9] = :x", x(s("y")), {"l": l(n(0), n(1), n(2), n(3), s("y"))}),
        ("SET l[9] = :x, l[7] = :y", {":x": s("y"), ":y": s("z")}, {"l": l(n(0), n(1), n(2), n(3), s("z"), s("y"))}),
        ("SET e[0] = :x", x(n(1)), {"e": l(n(1))}),
        ("SET m.a = :x", x(n(2)), {"m": m(a=n(2), b=l(n(1)))}),
        ("SET m.c = :x", x(n(2)), {"m": m(a=n(1), b=l(n(1)), c=n(2))}),
        ("SET m.b[0] = :x", x(n(2)), {"m": m(a=n(1), b=l(n(2)))}),
        ("REMOVE n", None, {"n": None}), ("REMOVE nix, n, m.nix, l[9]", None, {"n": None}),
        ("REMOVE m.a", None, {"m": m(b=l(n(1)))}), ("REMOVE l[0]", None, {"l": l(n(1), n(2), n(3))}),
        ("REMOVE l[0], l[1], l[3]", None, {"l": l(n(2))}),
        ("REMOVE l[1] SET l[0] = :x", x(s("y")), {"l": l(s("y"), n(2), n(3))}),
        ("REMOVE m.b[0]", None, {"m": m(a=n(1), b=l())}),
        ("ADD n :x", x(n("-1.5")), {"n": n("-0.5")}), ("ADD q :x", x(n(5)), {"q": n(5)}),
        ("ADD m.q :x", x(n(5)), {"m": m(a=n(1), b=l(n(1)), q=n(5))}),
        ("ADD ss :x", x({"SS": ["b", "c"]}), {"ss": {"SS": ["a", "b", "c"]}}),
        ("ADD q :x", x({"BS": [b"a"]}), {"q": {"BS": [b"a"]}}),
        ("ADD ns :x", x({"NS": ["1.0", "2"]}), {"ns": {"NS": ["1", "2"]}}),
        ("ADD m.a :x", x(n(1)), {"m": m(a=n(2), b=l(n(1)))}),
        ("DELETE ss :x", x({"SS": ["a", "z"]}), {"ss": {"SS": ["b"]}}),
        ("DELETE ss :x", x({"SS": ["a", "b"]}), {"ss": None}), ("DELETE nix :x", x({"SS": ["a"]}), {}),
        ("DELETE ns :x", x({"NS": ["1.0"]}), {"ns": None}),
        ("SET q = :x ADD n :y REMOVE s DELETE ss :z", {":x": n(1), ":y": n(1), ":z": {"SS": ["a"]}},
            {"q": n(1), "n": n(2), "s": None, "ss": {"SS": ["b"]}}),
        ("remove s set q = :x", x(n(1)), {"s": None, "q": n(1)}), ("SET q = p", None, {"q": s("k")}),
        ("SET q = :x", x({"NULL": True}), {"q": {"NULL": True}}),
    ]:
        becomes(expression, given, expected)

    path = "The document path provided in the update expression is invalid for update"
    operand = "An operand in the update expression has an incorrect data type"
    missing = "The provided expression refers to an attribute that does not exist in the item"
    over = "Number overflow. Attempting to store a number with magnitude larger than supported range"
    function = "Incorrect operand type for operator or function; operator or function: "
    only_set = "Incorrect operand type for operator or function; operator: "
    overlap = "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: "
    bad = "Invalid UpdateExpression: "
    for expression, text, given in [
        ("SET nix.a = :x", path, x(n(1))), ("SET s.a = :x", path, x(n(1))), ("SET m[0] = :x", path, x(n(1))),
        ("SET l.a = :x", path, x(n(1))), ("SET nix[0] = :x", path, x(n(1))), ("SET m.nix.a = :x", path, x(n(1))),
        ("REMOVE nix.a", path, None), ("REMOVE s[0]", path, None), ("ADD nix.a :x", path, x(n(1))),
        ("SET n = s + :x", operand, x(n(1))), ("SET n = l + :x", operand, x(n(1))),
        ("SET n = list_append(s, :x)", operand, x(l())), ("ADD s :x", operand, x(n(1))),
        ("ADD n :x", operand, x({"SS": ["a"]})), ("ADD ss :x", operand, x({"NS": ["1"]})),
        ("DELETE ss :x", operand, x({"NS": ["1"]})), ("DELETE n :x", operand, x({"SS": ["a"]})),
        ("ADD l :x", operand, x({"SS": ["a"]})),
        ("SET n = nix + :x", missing, x(n(1))), ("SET n = nix", missing, None), ("SET n = m.nix", missing, None),
        ("SET l = list_append(nix, :x)", missing, x(l())),
        ("SET n = :x + :x", over, x(n("9e125"))), ("ADD n :x", over, x(n("1e125"))),
        ("SET p = :x", f"{INVALID}Cannot update attribute p. This attribute is part of the key", x(s("k"))),
        ("REMOVE p", f"{INVALID}Cannot update attribute p. This attribute is part of the key", None),
        ("", bad + "The expression can not be empty;", None),
        ("n = :x", bad + 'Syntax error; token: "n", near: "n ="', x(n(1))),
        ("SET", bad + 'Syntax error; token: "<EOF>", near: "SET"', None), ("SET n", bad + "Syntax error", None),
        ("SET n = :x,", bad + "Syntax error", x(n(1))), ("SET n = :x SETT m = :x", bad + "Syntax error", x(n(1))),
        ("SET n += :x", bad + "Syntax error", x(n(1))), ("SET n = n * :x", bad + "Syntax error", x(n(1))),
        ("SET n = n + :x + :x", bad + "Syntax error", x(n(1))),
        ("ADD n = :x", bad + "Syntax error", x(n(1))), ("ADD n m", bad + "Syntax error", None),
        ("REMOVE n = :x", bad + "Syntax error", x(n(1))), ("DELETE ss", bad + "Syntax error", None),
        ("SET :x = n", bad + "Syntax error", x(n(1))), ("UPDATE n = :x", bad + "Syntax error", x(n(1))),
        ("SET n = :x SET s = :x", bad + 'The "SET" section can only be used once in an update expression;', x(n(1))),
        ("REMOVE n REMOVE s", bad + 'The "REMOVE" section can only be used once in an update expression;', None),
        ("SET name = :x", bad + "Attribute name is a reserved keyword; reserved keyword: name", x(n(1))),
        ("SET #n = :x",
            bad + "An expression attribute name used in the document path is not defined; attribute name: #n", x(n(1))),
        ("SET n = :y", bad + "An expression attribute value used in expression is not defined; attribute value: :y",
            None),
        ("SET n = nothing(n)", bad + "Invalid function name; function: nothing", None),
        ("SET n = size(s)", bad + "The function is not allowed in an update expression; function: size", None),
        ("SET n = contains(s, :x)", bad + "The function is not allowed in an update expression; function: contains",
            x(s("a"))),
        ("SET n = if_not_exists(n)",
            bad + "Incorrect number of operands for operator or function; operator or function: if_not_exists, number "
                "of operands: 1", None),
        ("SET n = list_append(l)",
            bad + "Incorrect number of operands for operator or function; operator or function: list_append, number of "
                "operands: 1", None),
        ("SET n = if_not_exists(:x, n)",
            bad + "Operator or function requires a document path; operator or function: if_not_exists", x(n(1))),
        ("SET n = n + :x", bad + f"{function}+, operand type: S", x(s("a"))),
        ("SET n = :x - n", bad + f"{function}-, operand type: L", x(l())),
        ("SET n = list_append(:x, l)", bad + f"{function}list_append, operand type: S", x(s("a"))),
        ("ADD n :x", bad + f"{only_set}ADD, operand type: STRING, typeSet: ALLOWED_FOR_ADD_OPERAND", x(s("a"))),
        ("ADD l :x", bad + f"{only_set}ADD, operand type: LIST, typeSet: ALLOWED_FOR_ADD_OPERAND", x(l())),
        ("DELETE n :x", bad + f"{only_set}DELETE, operand type: NUMBER, typeSet: ALLOWED_FOR_DELETE_OPERAND", x(n(1))),
        ("SET n = :x, n = :x", bad + f"{overlap}[n], path two: [n]", x(n(1))),
        ("SET n = :x REMOVE n", bad + f"{overlap}[n], path two: [n]", x(n(1))),
        ("SET m = :x, m.a = :x", bad + f"{overlap}[m], path two: [m, a]", x(n(1))),
        ("REMOVE l[0], l[0]", bad + f"{overlap}[l, [0]], path two: [l, [0]]", None),
        ("SET m.a = :x, m[0] = :x",
            bad + "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: "
                "[m, a], path two: [m, [0]]", x(n(1))),
        ("SET n = ((n + :x))", bad + "The expression has redundant parentheses;", x(n(1))),
        ("SET n = :x" + " " * 4096,
            bad + "Expression size has exceeded the maximum allowed size; expression size: 4106", x(n(1))),
    ]:
        a.ok("put_item", Item=item)
        more = {"ExpressionAttributeValues": given} if given else {}
        a.error("update_item", v("=" + text if not text.endswith(("Syntax error",)) else text), Key=key,
            UpdateExpression=expression, **more)
        a.equal(f"{expression} left", sets_sorted(a.item(**key)), sets_sorted(item))
    # Of an item that is not there.
    for expression, given, expected in [
        (None, None, key), ("SET n = :x", x(n(1)), {**key, "n": n(1)}), ("ADD n :x", x(n(1)), {**key, "n": n(1)}),
        ("REMOVE n", None, None), ("DELETE ss :x", x({"SS": ["a"]}), None),
        ("SET n = p", None, {**key, "n": s("k")}), ("REMOVE n SET s = :x", x(n(1)), {**key, "s": n(1)}),
    ]:
        a.ok("delete_item", Key=key)
        more = {"ExpressionAttributeValues": given} if given else {}
        if expression:
            more["UpdateExpression"] = expression
        a.ok("update_item", Key=key, **more)
        a.equal(f"{expression} of nothing", a.item(**key), expected)
