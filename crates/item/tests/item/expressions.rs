//! What is wrong with expressions, in DynamoDB's words.

use crate::{condition, expressions};
use quorate_item::{Error, Expressions, Use, check_parameters};
use serde_json::json;

fn told<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Ok(right) => format!("taken: {right:?}"),
        Err(wrong) => wrong.message().to_string(),
    }
}

fn refused(prefix: &str, text: &str, result: Result<impl std::fmt::Debug, Error>, why: &str) {
    assert_eq!(told(result), format!("Invalid {prefix}: {why}"), "{text}");
}

/// Claim: each wrong condition is refused for the first thing that is wrong with it.
#[test]
fn conditions() {
    let operands = "Incorrect number of operands for operator or function; operator or function: ";
    let kind = "Incorrect operand type for operator or function; operator or function: ";
    let path = "Operator or function requires a document path; operator or function: ";
    let place = "The function is not allowed to be used this way in an expression; function: ";
    let distinct = "The first operand must be distinct from the remaining operands for this operator or function; operator: ";
    let redundant = "The expression has redundant parentheses;";
    let reserved = "Attribute name is a reserved keyword; reserved keyword: ";
    let no_name = "An expression attribute name used in the document path is not defined; attribute name: ";
    let no_value = "An expression attribute value used in expression is not defined; attribute value: ";
    let between = "The BETWEEN operator requires ";
    let table = [
        ("", "The expression can not be empty;".to_string()),
        ("a", syntax("<EOF>", "a")),
        ("a =", syntax("<EOF>", "=")),
        ("a = :s AND", syntax("<EOF>", "AND")),
        ("a b", syntax("b", "a b")),
        ("a ! b", syntax("!", "a ! b")),
        ("a == :s", syntax("=", "== :s")),
        ("_a = :s", syntax("_", "_a")),
        ("a = :s)", syntax(")", ":s)")),
        ("(a = :s", syntax("<EOF>", ":s")),
        ("a = : s", syntax(":", "= : s")),
        ("a[x] = :s", syntax("x", "[x]")),
        ("a[01] = :s", syntax("1", "01]")),
        ("a[-1] = :s", syntax("-", "[-1")),
        ("a. = :s", syntax("=", ". = :s")),
        ("a.:s = :s", syntax(":s", ".:s =")),
        ("a = 5", syntax("5", "= 5")),
        ("and = :s", syntax("and", "and =")),
        ("a = é", syntax("é", "= é")),
        ("a BETWEEN :n OR :m", syntax("OR", ":n OR :m")),
        ("a IN :n", syntax(":n", "IN :n")),
        ("a IN ()", syntax(")", "()")),
        ("size()", syntax(")", "()")),
        ("NOT", syntax("<EOF>", "NOT")),
        ("()", syntax(")", "()")),
        ("(a)", syntax(")", "a)")),
        ("((a = :s))", redundant.into()),
        ("((a)) = :s", redundant.into()),
        ("a = ((:s))", redundant.into()),
        ("((a = :s)) AND = b", redundant.into()),
        ("((a = :s) AND (b = :s)) AND ((c = :s))", redundant.into()),
        ("status = :s", format!("{reserved}status")),
        ("a.Items[1] = :s", format!("{reserved}Items")),
        ("f(a) AND status = :s", "Invalid function name; function: f".into()),
        ("status = :s AND f(a)", format!("{reserved}status")),
        ("SIZE(a) = :n", "Invalid function name; function: SIZE".into()),
        ("a[2147483648] = :s", "List index is not within the allowable range; index: [2147483648]".into()),
        ("a[99999999999] = :s", "List index is not within the allowable range; index: [99999999999]".into()),
        ("size(a)", format!("{place}size")),
        ("NOT size(a)", format!("{place}size")),
        ("contains(a, b) = :bool", format!("{place}contains")),
        ("attribute_exists(attribute_exists(a))", format!("{place}attribute_exists")),
        (
            "if_not_exists(a, :s) = :s",
            "The function is not allowed in a condition expression; function: if_not_exists".into(),
        ),
        ("attribute_exists(a, b)", format!("{operands}attribute_exists, number of operands: 2")),
        ("begins_with(a)", format!("{operands}begins_with, number of operands: 1")),
        ("size(a, b) > :n", format!("{operands}size, number of operands: 2")),
        ("contains(a, b, c)", format!("{operands}contains, number of operands: 3")),
        ("#x = :s", format!("{no_name}#x")),
        ("a = :x", format!("{no_value}:x")),
        ("#x = :x", format!("{no_name}#x")),
        ("a.#x[0] = :s", format!("{no_name}#x")),
        ("attribute_exists(:s)", format!("{path}attribute_exists")),
        ("attribute_not_exists(size(a))", format!("{path}attribute_not_exists")),
        ("attribute_type(:s, :S)", format!("{path}attribute_type")),
        ("a = a", format!("{distinct}=, first operand: [a]")),
        ("#a.b[0] < a.b[0]", format!("{distinct}<, first operand: [a, b, [0]]")),
        ("contains(#a, a)", format!("{distinct}contains, first operand: [a]")),
        ("a BETWEEN :n AND a", format!("{distinct}BETWEEN, first operand: [a]")),
        ("a IN (b, a)", format!("{distinct}IN, first operand: [a]")),
        ("a < :l", format!("{kind}<, operand type: L")),
        (":ss >= a", format!("{kind}>=, operand type: SS")),
        ("a > :bool", format!("{kind}>, operand type: BOOL")),
        ("a BETWEEN :map AND :map", format!("{kind}BETWEEN, operand type: M")),
        ("begins_with(a, :n)", format!("{kind}begins_with, operand type: N")),
        ("begins_with(a, size(b))", format!("{kind}begins_with, operand type: N")),
        ("size(:n) = :n", format!("{kind}size, operand type: N")),
        ("size(:null) = :n", format!("{kind}size, operand type: NULL")),
        ("attribute_type(a, :n)", format!("{kind}attribute_type, operand type: N")),
        (
            "attribute_type(a, b)",
            format!("{kind}attribute_type, operand type: {{NS,SS,L,BS,N,M,B,BOOL,NULL,S}}"),
        ),
        (
            "attribute_type(a, :Q)",
            "Invalid attribute type name found; type: Q, valid types: {N,BS,L,B,NULL,M,S,SS,NS,BOOL}".into(),
        ),
        (
            "a BETWEEN :m AND :n",
            format!(
                "{between}upper bound to be greater than or equal to lower bound; lower bound operand: AttributeValue: {{N:7}}, upper bound operand: AttributeValue: {{N:5}}"
            ),
        ),
        (
            "a BETWEEN :n AND :s",
            format!(
                "{between}same data type for lower and upper bounds; lower bound operand: AttributeValue: {{N:5}}, upper bound operand: AttributeValue: {{S:text}}"
            ),
        ),
    ];
    for (text, why) in table {
        refused("ConditionExpression", text, condition(text), &why);
    }
}

fn syntax(token: &str, near: &str) -> String {
    format!("Syntax error; token: \"{token}\", near: \"{near}\"")
}

/// Claim: each wrong update is refused for the first thing that is wrong with it.
#[test]
fn updates() {
    let kind = "Incorrect operand type for operator or function; operator or function: ";
    let written = "Incorrect operand type for operator or function; operator: ";
    let overlap =
        "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: ";
    let conflict =
        "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: ";
    let table = [
        ("", "The expression can not be empty;".to_string()),
        ("INVALID SYNTAX HERE", syntax("INVALID", "INVALID SYNTAX")),
        ("SET", syntax("<EOF>", "SET")),
        ("SET a", syntax("<EOF>", "a")),
        ("SET a = :n,", syntax("<EOF>", ",")),
        ("SET a = :n b = :n", syntax("b", ":n b =")),
        ("SET a = :n + :n + :n", syntax("+", ":n + :n")),
        ("SET a = (:n + :n) + :n", syntax("+", ":n + :n")),
        ("SET a = if_not_exists(a, :n + :n)", syntax("+", ":n + :n")),
        ("SET a < :n", syntax("<", "a < :n")),
        ("SET :n = :n", syntax(":n", "SET :n =")),
        ("REMOVE a = :n", syntax("=", "a = :n")),
        ("ADD a b", syntax("b", "a b")),
        ("ADD a = :n", syntax("=", "a = :n")),
        ("DELETE a, b", syntax(",", "a, b")),
        ("SET a = ((:n))", "The expression has redundant parentheses;".into()),
        ("SET a = ((:n + :n))", "The expression has redundant parentheses;".into()),
        ("SET status = :n", "Attribute name is a reserved keyword; reserved keyword: status".into()),
        ("SET a = f(b, c, d)", "Invalid function name; function: f".into()),
        ("SET a = size(b)", "The function is not allowed in an update expression; function: size".into()),
        ("SET a = list_append(list_append(:l, :l), :l)", "The function is not allowed to be used this way in an expression; function: list_append".into()),
        ("SET a = :n SET b = :n", "The \"SET\" section can only be used once in an update expression;".into()),
        ("REMOVE a SET c = :n REMOVE b", "The \"REMOVE\" section can only be used once in an update expression;".into()),
        ("SET a = list_append(:l)", "Incorrect number of operands for operator or function; operator or function: list_append, number of operands: 1".into()),
        ("SET #x = :n", "An expression attribute name used in the document path is not defined; attribute name: #x".into()),
        ("SET a = #x, b = #y", "An expression attribute name used in the document path is not defined; attribute name: #y".into()),
        ("SET a = :x", "An expression attribute value used in expression is not defined; attribute value: :x".into()),
        ("SET a = :x, b = #x", "An expression attribute name used in the document path is not defined; attribute name: #x".into()),
        ("SET a = if_not_exists(:x, :n)", "An expression attribute value used in expression is not defined; attribute value: :x".into()),
        ("SET a = if_not_exists(:n, :n)", "Operator or function requires a document path; operator or function: if_not_exists".into()),
        ("SET a = if_not_exists(if_not_exists(a, :n), :n)", "Operator or function requires a document path; operator or function: if_not_exists".into()),
        ("SET a = if_not_exists(b, b)", "The first operand must be distinct from the remaining operands for this operator or function; operator: if_not_exists, first operand: [b]".into()),
        ("SET a = :s + :n", format!("{kind}+, operand type: S")),
        ("SET a = b - :l", format!("{kind}-, operand type: L")),
        ("SET a = list_append(b, :n)", format!("{kind}list_append, operand type: N")),
        ("ADD a :s", format!("{written}ADD, operand type: STRING, typeSet: ALLOWED_FOR_ADD_OPERAND")),
        ("ADD a :l", format!("{written}ADD, operand type: LIST, typeSet: ALLOWED_FOR_ADD_OPERAND")),
        ("DELETE a :n", format!("{written}DELETE, operand type: NUMBER, typeSet: ALLOWED_FOR_DELETE_OPERAND")),
        ("SET a = :n, a = :m", format!("{overlap}[a], path two: [a]")),
        ("SET #a = :n REMOVE a", format!("{overlap}[a], path two: [a]")),
        ("SET a.b = :n, a = :m", format!("{overlap}[a, b], path two: [a]")),
        ("SET a = :n, a.b[1] = :m", format!("{overlap}[a], path two: [a, b, [1]]")),
        ("SET a[1] = :n, b = :n, a[1].c = :m", format!("{overlap}[a, [1]], path two: [a, [1], c]")),
        ("SET a[1] = :n, a.b = :m", format!("{conflict}[a, [1]], path two: [a, b]")),
        ("SET a.b = :n, a[1] = :m", format!("{conflict}[a, b], path two: [a, [1]]")),
        ("SET a.b = :n, a[1] = :m, a[1] = :s", format!("{overlap}[a, [1]], path two: [a, [1]]")),
    ];
    for (text, why) in table {
        refused("UpdateExpression", text, expressions().update(text), &why);
    }
    let taken = [
        "SET a = (b)",
        "SET a = (b - :n)",
        "SET a = ((b) - (:n)), c = if_not_exists(c, if_not_exists(d, :n)) + :n",
        "set a[0] = :n, a[1] = :m remove b.c, b.d add c :n delete d :ss",
        "SET a = list_append(if_not_exists(a, :none), :l)",
        "SET #dot = :n, a.b = :n",
    ];
    for text in taken {
        assert!(expressions().update(text).is_ok(), "{text}: {:?}", expressions().update(text));
    }
}

/// Claim: each wrong projection is refused for the first thing that is wrong with it.
#[test]
fn projections() {
    let overlap =
        "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: ";
    let table = [
        ("", "The expression can not be empty;".to_string()),
        ("!!", syntax("!", "!!")),
        ("a,", syntax("<EOF>", ",")),
        ("a b", syntax("b", "a b")),
        ("a, status", "Attribute name is a reserved keyword; reserved keyword: status".into()),
        ("#x", "An expression attribute name used in the document path is not defined; attribute name: #x".into()),
        ("#a, a", format!("{overlap}[a], path two: [a]")),
        ("a.b, #a", format!("{overlap}[a, b], path two: [a]")),
        ("a[0], a.b", "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: [a, [0]], path two: [a, b]".into()),
    ];
    for (text, why) in table {
        refused("ProjectionExpression", text, expressions().projection(text), &why);
    }
    let deep = |levels: usize| format!("a{}", ".b".repeat(levels - 1));
    assert!(expressions().projection(&deep(32)).is_ok());
    let why = "The document path has too many nesting levels; nesting levels: 33";
    refused("ProjectionExpression", "deep", expressions().projection(&deep(33)), why);
}

/// Claim: the names and values of an expression may have 2 MB together.
#[test]
fn what_is_substituted_is_bounded() {
    let compared = |count: usize, size: usize| {
        let value = |at| (format!(":v{at}"), json!({ "S": "x".repeat(size) }));
        let values = (0..count).map(value).collect();
        let text: Vec<String> = (0..count).map(|at| format!("v{at} <> :v{at}")).collect();
        let mut given = Expressions::from_json(None, Some(serde_json::Value::Object(values))).unwrap();
        given.condition(Use::Condition, &text.join(" AND "))
    };
    let named = |count: usize| {
        let name = |at| (format!("#n{at}"), json!("n".repeat(60_000)));
        let names = (10..10 + count).map(name).collect();
        let text: Vec<String> = (10..10 + count).map(|at| format!("attribute_exists(#n{at})")).collect();
        let mut given = Expressions::from_json(Some(serde_json::Value::Object(names)), None).unwrap();
        given.condition(Use::Condition, &text.join(" AND "))
    };
    assert!(compared(5, 400_000).is_ok() && named(34).is_ok());
    let why = |size: usize| {
        format!(
            "The size of the expression's names and values has exceeded the maximum allowed size of 2 MB; size: {size}"
        )
    };
    refused("ConditionExpression", "values", compared(6, 400_000), &why(6 * 400_003));
    refused("ConditionExpression", "names", named(35), &why(35 * 60_004));
}

/// Claim: what is named many times is copied many times, and that is bounded, too, before it is done.
#[test]
fn what_is_copied_is_bounded() {
    let given = |size: usize| {
        let (name, value) = (json!({"#n": "n".repeat(60_000)}), json!({":v": {"S": "x".repeat(size)}}));
        Expressions::from_json(Some(name), Some(value)).unwrap()
    };
    let update = |times: usize| {
        let sets: Vec<String> = (0..times).map(|at| format!("v{at}=:v")).collect();
        given(2_000_000).update(&format!("SET {}", sets.join(",")))
    };
    let why = |size: usize| {
        format!(
            "The expression's names and values, each counted as often as it is used, have exceeded the maximum allowed \
             size of 6 MB; size: {size}"
        )
    };
    assert!(update(3).is_ok());
    refused("UpdateExpression", "values", update(300), &why(300 * 2_000_002));
    let condition =
        |times: usize, of: &str| given(1).condition(Use::Condition, &vec![of; times].join(" OR "));
    assert!(condition(100, "attribute_exists(#n)").is_ok());
    refused("ConditionExpression", "names", condition(110, "attribute_exists(#n)"), &why(110 * 60_000));
    let deep = vec!["#n"; 32].join(".");
    refused(
        "ProjectionExpression",
        "deep",
        given(1).projection(&vec![deep; 30].join(",")),
        &why(960 * 60_000),
    );
}

/// Claim: at a limit an expression is taken, beyond it refused.
#[test]
fn limits() {
    let padded = |size: usize| format!("a = :s{}", " ".repeat(size - 6));
    assert!(condition(&padded(4096)).is_ok());
    let why = "Expression size has exceeded the maximum allowed size; expression size: 4097";
    refused("ConditionExpression", "long", condition(&padded(4097)), why);
    let comparisons = |count: usize| vec!["a<b"; count].join(" OR ");
    assert!(condition(&comparisons(150)).is_ok());
    let why = "The expression contains too many operators; operator count: 301";
    refused("ConditionExpression", "operators", condition(&comparisons(151)), why);
    let in_list = |count: usize| format!("a IN ({})", vec![":s"; count].join(","));
    assert!(condition(&in_list(100)).is_ok());
    let why = "The IN operator is provided with too many operands; number of operands: 101";
    refused("ConditionExpression", "in", condition(&in_list(101)), why);
}

/// Claim: names and values that no expression uses are refused, listed as DynamoDB lists them.
#[test]
fn what_is_not_used() {
    let names = json!({"#a": "a", "#b": "b", "#unused": "c"});
    let mut given =
        Expressions::from_json(Some(names), Some(json!({":v": {"N": "1"}, ":w": {"N": "2"}}))).unwrap();
    given.condition(Use::Condition, "#a = :v AND b = :w").unwrap();
    let unused = "Value provided in ExpressionAttributeNames unused in expressions: keys: ";
    assert_eq!(told(given.finish()), format!("{unused}{{#b, #unused}}"));
    let mut given =
        Expressions::from_json(None, Some(json!({":v": {"N": "1"}, ":unused": {"N": "2"}}))).unwrap();
    given.update("SET a = :v").unwrap();
    let unused = "Value provided in ExpressionAttributeValues unused in expressions: keys: ";
    assert_eq!(told(given.finish()), format!("{unused}{{:unused}}"));
    let mut given =
        Expressions::from_json(Some(json!({"#a": "a"})), Some(json!({":v": {"N": "1"}}))).unwrap();
    given.update("SET b = :v").unwrap();
    given.condition(Use::Condition, "attribute_exists(#a)").unwrap();
    assert_eq!(given.finish(), Ok(()));
}

/// Claim: placeholders have their form, and stand for something.
#[test]
fn placeholders() {
    let long = format!("#{}", "x".repeat(255));
    let names = [
        (json!({}), "ExpressionAttributeNames must not be empty".to_string()),
        (json!({"a": "a"}), "ExpressionAttributeNames contains invalid key: Syntax error; key: \"a\"".into()),
        (json!({"#": "a"}), "ExpressionAttributeNames contains invalid key: Syntax error; key: \"#\"".into()),
        (json!({"#a-b": "a"}), "ExpressionAttributeNames contains invalid key: Syntax error; key: \"#a-b\"".into()),
        (json!({"#a": ""}), "ExpressionAttributeNames contains invalid value: Empty attribute name for key #a".into()),
        (json!({long: "a"}), "ExpressionAttributeNames contains invalid key: The expression attribute map contains a key that is too long; size of key: 256".into()),
        (json!({"#a": 5}), "NUMBER_VALUE cannot be converted to String".into()),
        (json!("x"), "Unexpected field type".into()),
    ];
    for (json, why) in names {
        assert_eq!(told(Expressions::from_json(Some(json.clone()), None)), why, "{json}");
    }
    let invalid = "ExpressionAttributeValues contains invalid";
    let values = [
        (json!({}), "ExpressionAttributeValues must not be empty".to_string()),
        (json!({"v": {"N": "1"}}), format!("{invalid} key: Syntax error; key: \"v\"")),
        (json!({"v": {"N": "x"}}), format!("{invalid} key: Syntax error; key: \"v\"")),
        (
            json!({":v": {}}),
            format!(
                "{invalid} value: Supplied AttributeValue is empty, must contain exactly one of the supported datatypes for key :v"
            ),
        ),
        (
            json!({":v": {"SS": []}}),
            format!(
                "{invalid} value: One or more parameter values were invalid: An string set  may not be empty for key :v"
            ),
        ),
        (
            json!({":v": {"N": "x"}}),
            format!("{invalid} value: The parameter cannot be converted to a numeric value: x for key :v"),
        ),
        (json!({":v": {"N": 1}}), "NUMBER_VALUE cannot be converted to String".into()),
    ];
    for (json, why) in values {
        assert_eq!(told(Expressions::from_json(None, Some(json.clone()))), why, "{json}");
    }
    assert!(Expressions::from_json(Some(json!(null)), Some(json!(null))).is_ok());
}

/// Claim: old and new parameters are not mixed, and placeholders need an expression.
#[test]
fn parameters() {
    let update = |new: bool, old: bool, names: bool, values: bool| {
        let new = [("UpdateExpression", new), ("ConditionExpression", false)];
        told(check_parameters(&new, &[("AttributeUpdates", old), ("Expected", false)], names, values))
    };
    let mixed = "Can not use both expression and non-expression parameters in the same request: Non-expression parameters: {AttributeUpdates} Expression parameters: {UpdateExpression}";
    assert_eq!(update(true, true, true, true), mixed);
    assert_eq!(update(true, false, true, true), "taken: ()");
    assert_eq!(
        update(false, true, true, false),
        "ExpressionAttributeNames can only be specified when using expressions"
    );
    assert_eq!(
        update(false, false, false, true),
        "ExpressionAttributeValues can only be specified when using expressions: UpdateExpression and ConditionExpression are null"
    );
    let query = |key: bool| {
        let new = [("ProjectionExpression", true), ("KeyConditionExpression", key)];
        told(check_parameters(&new, &[("KeyConditions", true)], false, false))
    };
    assert_eq!(query(false), "taken: ()");
    assert!(query(true).starts_with("Can not use both"));
    assert_eq!(
        told(check_parameters(&[("ConditionExpression", false)], &[], false, true)),
        "ExpressionAttributeValues can only be specified when using expressions: ConditionExpression is null"
    );
}
