use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn widget() -> Value {
    json!({
        "metadata": { "name": "w", "generation": 4, "labels": { "app.kubernetes.io/name": "w" } },
        "spec": { "size": 3, "ratio": 0.5, "tags": ["a", "b"] },
        "status": {
            "observedGeneration": 4,
            "phase": "Running",
            "at": "2026-01-01T00:00:00Z",
            "conditions": [
                { "type": "Ready", "status": "True", "observedGeneration": 4 },
                { "type": "Synced", "status": "False", "reason": "Waiting" },
            ],
        },
    })
}

fn evaluate(text: &str, object: &Value) -> Result<bool, String> {
    let expression = Expression::compile(text).map_err(|e| e.to_string())?;
    let fields = object.as_object().unwrap().iter().map(|(key, value)| (key.as_str(), value));
    expression.evaluate(fields).map_err(|e| e.to_string())
}

#[test]
fn what_is_written_for_flux_means_the_same_here() {
    let widget = widget();
    for (text, expected) in [
        ("status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')", true),
        ("status.conditions.exists(e, e.type == 'Synced' && e.status == 'True')", false),
        ("status.conditions.filter(e, e.type == 'Ready').all(e, e.observedGeneration == metadata.generation)", true),
        ("has(status.observedGeneration) && status.observedGeneration == metadata.generation", true),
        ("has(status.missing) && status.missing == 1", false),
        ("status.phase in ['Running', 'Done']", true),
        ("size(status.conditions) == 2 && status.conditions.size() > 1", true),
        ("status.conditions.exists_one(e, e.status == 'True')", true),
        ("status.conditions.map(e, e.type) == ['Ready', 'Synced']", true),
        ("spec.ratio < 1 && spec.size >= 3.0", true),
        ("status.phase.matches('^Run') && status.phase.lowerAscii() == 'running'", true),
        ("timestamp(status.at) < timestamp('2027-01-01T00:00:00Z')", true),
        ("duration('1m') > duration('59s')", true),
        ("metadata.labels['app.kubernetes.io/name'] == metadata.name", true),
        ("sets.contains(spec.tags, ['a']) && sets.intersects(spec.tags, ['b', 'c'])", true),
        ("sets.equivalent(spec.tags, ['b', 'a', 'a']) && !sets.contains(spec.tags, ['z'])", true),
        ("base64.decode('aGVsbG8=') == b'hello'", true),
        ("status.?missing.orValue('x') == 'x'", true),
        ("!has(spec.suspend) || !spec.suspend", true),
        ("true", true),
    ] {
        assert_eq!(evaluate(text, &widget), Ok(expected), "{text}");
    }
}

#[test]
fn a_text_that_is_no_expression_is_named_with_what_is_wrong() {
    let errors: Vec<String> = [
        "",
        "status.conditions.filter(e, e.type == 'Ready'",
        "status.phase = 'Running'",
        "status.phase == 'Running",
        "has(status)",
        "status.conditions.all(1, true)",
        "'Running'",
        "Widget{size: 3}",
        "status.phase.matches('(')",
        r"status.items.all(i, i.name.matches('^\\w{100}$'))",
        &"status.phase == 'Running' || ".repeat(100),
        &"a".repeat(CHARS_MAX + 1),
        &format!("{}true{}", "(".repeat(30), ")".repeat(30)),
        &format!("a{}", "+a".repeat(OPERATORS_MAX + 1)),
    ]
    .iter()
    .map(|text| Expression::compile(text).map_or_else(|e| e.to_string(), |_| format!("{text} is taken")))
    .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn what_cannot_be_evaluated_is_named_without_values() {
    let object = json!({
        "data": { "password": "hunter2", "list": ["hunter2"] }, "n": 1,
    });
    let errors: Vec<String> = [
        "data.password",
        "status.conditions.exists(c, true)",
        "data.missing == 'x'",
        "data[data.password] == 'x'",
        "data.password + 1 == 2",
        "data.password > 1",
        "data.password.nonsense()",
        "nonsense(data.password)",
        "data.password.all(c, true)",
        "-data.password == 1",
        "int(data.password) == 1",
        "timestamp(data.password) == timestamp('2026-01-01T00:00:00Z')",
        "data.password.matches(data.list[0] + '(')",
        "data.list[1] == 'x'",
        "1 / (n - 1) == 1",
        "9223372036854775807 + n == 1",
        "!data.password",
        "data.list[data.password] == 'x'",
        "{data: 1} == {}",
    ]
    .iter()
    .map(|text| evaluate(text, &object).map_or_else(|e| e, |answer| format!("{text} is {answer}")))
    .collect();
    let all = errors.join("\n");
    assert!(!all.contains("hunter2"), "{all}");
    insta::assert_snapshot!(all);
}

#[test]
fn only_the_given_variables_are_named() {
    let check = |text: &str| Expression::compile_over(text, &["dep", "self"]).map(|_| ()).map_err(|e| e.to_string());
    for text in [
        "dep.status.conditions.exists(c, c.type == 'Ready' && self.metadata.name == 'x')",
        "sets.contains(dep.spec.tags, [string(1)]) && type(dep.spec.size) == int",
        "dep.spec.list.map(x, x.map(y, y + 1)).size() > 0",
    ] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
    let errors = ["status.phase == 'x'", "dep.spec.list.exists(c, d == 1)", "dep.spec.list.exists(c, true) && c"]
        .map(|text| check(text).unwrap_err());
    insta::assert_snapshot!(errors.join("\n"));
}

fn long(elements: usize) -> Value {
    json!({ "list": (0..elements).map(|n| json!({ "n": n, "list": [n, n] })).collect::<Vec<_>>(), "text": "ab ".repeat(elements) })
}

/// The interpreter compiles a pattern at each use.
#[test]
fn patterns_cost_what_it_takes_to_compile_them() {
    let items = |n: usize| json!({ "items": vec![json!({ "name": "v1.2", "pattern": "v1" }); n] });
    let known = "items.all(i, i.name.matches('^v[0-9]+[.][0-9]+$'))";
    assert_eq!(evaluate(known, &items(500)), Ok(true));
    assert!(evaluate(known, &items(5_000)).unwrap_err().contains("too much"));
    let unknown = "items.all(i, i.name.matches(i.pattern))";
    assert_eq!(evaluate(unknown, &items(5)), Ok(true));
    assert!(evaluate(unknown, &items(50)).unwrap_err().contains("too much"));
}

#[test]
fn what_would_take_for_ever_is_refused_and_does_not_run() {
    let object = long(3_000);
    for text in [
        "list.all(a, list.all(b, a != b))",
        "list.map(a, list).size() == 1",
        "list.map(a, list.map(b, list)).size() == 1",
        "text.split('').all(a, text.split('').all(b, true))",
        "list.exists(a, (text + text + text).contains(text))",
        "text.replace('a', text).replace('b', text).size() == 1",
        "list.map(a, text).join(text).size() == 1",
        "sets.contains(list, list)",
        "[list, list].all(a, [list, list].all(b, [list, list].all(c, [list, list].all(d, [list, list].all(e, a == b)))))",
    ] {
        let refused = evaluate(text, &object).expect_err(text);
        assert!(refused.ends_with("would have to look at too much of so large an object"), "{text}: {refused}");
    }
    // What one writes about large objects all the same.
    assert_eq!(evaluate("list.all(e, e.n >= 0) && list.exists(e, e.n == 2999)", &object), Ok(true));
    assert_eq!(evaluate("list.filter(e, e.n > 10).map(e, e.n).size() == 2989", &object), Ok(true));
    assert_eq!(evaluate("list.all(a, list.all(b, a == b || a.n != b.n))", &long(20)), Ok(true));
}

/// On a thread like those of tokio, whose stack is 2 MiB: the deepest expressions need more, and have it.
#[test]
fn what_is_as_deep_as_allowed_has_stack_enough() {
    let nested =
        |open: &str, inner: &str, close: &str, n: usize| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    let deep = [
        format!("0{} == 0", "+0".repeat(OPERATORS_MAX - 2)),
        format!("a{} == 0", ".a".repeat(OPERATORS_MAX - 2)),
        format!("a{} == 0", "[0]".repeat(OPERATORS_MAX - 2)),
        format!("{}true", "true || ".repeat(OPERATORS_MAX / 2)),
        format!("{}true", "true ? true : ".repeat(22)),
        nested("!(", "true", ")", 22),
        format!("{} == 1", nested("[", "1", "][0]", 22)),
        nested("l.all(a,", "true", ")", 22),
        format!("{} == 1", nested("int(0+0+0+0+0+0+", "1", ")", 22)),
    ];
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        for text in &deep {
            let answer = evaluate(text, &json!({ "l": [1], "a": {} }));
            let known = ["no field", "no matching overload", "operands do not fit", "is nothing"];
            let fine = answer.as_ref().map_or_else(|e| known.iter().any(|words| e.contains(words)), |_| true);
            assert!(fine, "{text}: {answer:?}");
        }
    });
    thread.unwrap().join().unwrap();
}

#[test]
fn what_an_expression_does_not_name_costs_nothing() {
    let expression = Expression::compile("metadata.generation == 4").unwrap();
    let (metadata, status) = (json!({ "generation": 4 }), long(50_000));
    assert!(cost::of(&expression.tree, Measure::of(&status)) > 0);
    assert_eq!(expression.evaluate([("metadata", &metadata), ("status", &status)]), Ok(true));
}

#[test]
fn expressions_go_to_other_threads() {
    fn sent<T: Send + Sync + Clone>() {}
    sent::<Expression>();
}

/// Texts of the grammar's words, sound or not.
fn any_text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "status",
        ".",
        "conditions",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "'Ready'",
        "\"",
        "'",
        "==",
        "!=",
        "<",
        "+",
        "-",
        "*",
        "/",
        "%",
        "&&",
        "||",
        "!",
        "?",
        ":",
        ",",
        "exists",
        "all",
        "map",
        "filter",
        "has",
        "e",
        "e.type",
        "1",
        "1u",
        "-1",
        "1.5",
        "9223372036854775807",
        "true",
        "null",
        "in",
        "size",
        "matches",
        "split",
        "format",
        "%s",
        "replace",
        "substring",
        "timestamp",
        "duration",
        "int",
        "string",
        "bytes",
        "b'x'",
        "r'\\'",
        "\\",
        ".?",
        "[?",
        "optional",
        ".of",
        ".none",
        "sets.contains",
        "base64.decode",
        "charAt",
        "indexOf",
        "ä",
        "\n",
        "`",
        "@result",
        "__",
        "type",
        "dyn",
        "x",
        " ",
    ]);
    prop::collection::vec(words, 0..24).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(768) })]

    #[test]
    fn no_text_makes_it_panic(text in any_text()) {
        let _answer = evaluate(&text, &widget());
    }

    #[test]
    fn no_method_and_arguments_make_it_panic(
        target in prop::sample::select(vec!["status.phase", "spec.tags", "spec.size", "'aä€'", "''", "[1]", "{}", "spec.ratio", "null", "b'x'", "timestamp(status.at)", "duration('1s')"]),
        method in prop::sample::select(vec!["charAt", "indexOf", "lastIndexOf", "substring", "split", "replace", "format", "join", "matches", "contains", "startsWith", "size", "getFullYear", "getHours", "reverse", "trim", "lowerAscii"]),
        arguments in prop::collection::vec(prop::sample::select(vec!["-1", "0", "1", "9223372036854775807", "-9223372036854775808", "'a'", "''", "'%s %d %e %f %x %b %%'", "'%.99999999999f'", "'%'", "[1, 'a', null]", "spec", "null", "1.5", "'Europe/Berlin'", "b''"]), 0..3),
    ) {
        let call = format!("{target}.{method}({})", arguments.join(", "));
        let _answer = evaluate(&format!("{call} == 1"), &widget());
        let _answer = evaluate(&format!("[{target}].map(x, {call}).size() == 1"), &widget());
    }
}
