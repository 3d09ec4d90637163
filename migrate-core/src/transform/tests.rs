use super::*;
use crate::expression::Expression;
use crate::filter::Parameter;
use crate::job::{Join, Mask, OnError, Other, ParseJson, TextStep, Transform, Unix, ValueMap};
use crate::memory::table;
use crate::schema::Computed;
use crate::value::text::{parse, to_text};
use std::collections::BTreeMap;

fn source() -> TableSchema {
    let decimal = DataType::Decimal { precision: None, scale: None };
    let columns = [("id", DataType::Int64), ("t", DataType::TEXT), ("n", DataType::Int64), ("d", decimal)];
    table("entries", &columns, &["id"])
}

fn plan(steps: &[Transform]) -> TransformPlan {
    let entity = steps.iter().fold(Entity::new("entries"), |entity, step| entity.with_transform(step.clone()));
    TransformPlan::new(&entity, &source(), &["id".to_owned()], None).expect("the steps fit").expect("there are steps")
}

fn text(value: &str) -> Value<'static> {
    Value::Text(value.to_owned().into())
}

/// What one step makes of the column `t`: the value as text, `None` for NULL, or why it is refused.
fn make(step: Transform, t: Value<'static>) -> std::result::Result<Option<String>, String> {
    let plan = plan(&[step]);
    let values = [("id", Value::Int(1)), ("t", t), ("n", Value::Int(5)), ("d", Value::Null)];
    let read = |(name, value)| plan.reads().iter().any(|read| read == name).then_some(value);
    let (row, refused) = plan.apply(values.into_iter().filter_map(read).collect());
    let place = plan.table().columns.iter().position(|c| c.name == "t").expect("it is there");
    match refused {
        Some(refused) => {
            assert_eq!((refused.column.as_str(), &row[place]), ("t", &Value::Null));
            Err(refused.reason)
        }
        None if row[place].is_null() => Ok(None),
        None => Ok(Some(to_text(&row[place]).into_owned())),
    }
}

fn step() -> Transform {
    Transform::new("t")
}

fn made(text: &str) -> std::result::Result<Option<String>, String> {
    Ok(Some(text.to_owned()))
}

#[test]
fn numbers_and_moments_become_each_other_without_rounding() {
    let at = |unit, value| make(step().from_unix(unit), value);
    assert_eq!(at(Unix::Seconds, text("0")), made("1970-01-01 00:00:00+00"));
    assert_eq!(at(Unix::Milliseconds, Value::Int(1_700_000_000_123)), made("2023-11-14 22:13:20.123+00"));
    assert_eq!(at(Unix::Seconds, Value::Int(-1)), made("1969-12-31 23:59:59+00"));
    assert_eq!(at(Unix::Seconds, Value::Null), Ok(None));
    for wrong in [text("soon"), text("1.5"), Value::Int(i64::MAX)] {
        assert!(at(Unix::Seconds, wrong.clone()).is_err(), "{wrong:?}");
    }
    let moment = |t: &str| parse(t, &DataType::TimestampTz { precision: None }).expect("a moment");
    let back = |unit, value| make(step().to_unix(unit), value);
    assert_eq!(back(Unix::Milliseconds, moment("2023-11-14 22:13:20.123+00")), made("1700000000123"));
    assert_eq!(back(Unix::Seconds, text("1970-01-01 00:00:00+00")), made("0"));
    assert!(back(Unix::Seconds, moment("2023-11-14 22:13:20.123+00")).is_err(), "it would be rounded");
    assert!(back(Unix::Seconds, moment("infinity")).is_err() && back(Unix::Seconds, moment("-infinity")).is_err());
}

#[test]
fn moments_are_written_as_iso_8601_without_rounding() {
    let iso = |value| make(step().to_iso8601(), value);
    let moment = |t: &str| parse(t, &DataType::TimestampTz { precision: None }).expect("a moment");
    for (value, expected) in [
        (moment("2023-11-15 02:13:20.022+00"), "2023-11-15T02:13:20.022Z"),
        (moment("2023-11-15 02:13:20+00"), "2023-11-15T02:13:20.000Z"),
        (moment("2023-11-15 02:13:20.0225+00"), "2023-11-15T02:13:20.022500Z"),
        (moment("1969-12-31 23:59:59.999999+00"), "1969-12-31T23:59:59.999999Z"),
        (moment("0001-01-01 00:00:00+00"), "0001-01-01T00:00:00.000Z"),
        (moment("9999-12-31 23:59:59.999+00"), "9999-12-31T23:59:59.999Z"),
        (text("2023-11-15 04:13:20.5+02"), "2023-11-15T02:13:20.500Z"),
        (text("2023-11-15T02:13:20Z"), "2023-11-15T02:13:20.000Z"),
        (parse("2023-11-15 02:13:20", &DataType::Timestamp { precision: None }).expect("a moment"), "2023-11-15T02:13:20.000Z"),
    ] {
        assert_eq!(iso(value.clone()), made(expected), "{value:?}");
    }
    assert_eq!(iso(Value::Null), Ok(None));
    for wrong in [moment("infinity"), moment("10000-01-01 00:00:00+00"), moment("0001-12-31 23:59:59+00 BC"), text("soon")] {
        assert!(iso(wrong.clone()).is_err(), "{wrong:?}");
    }
    let packed =
        [Transform::new("t").from_unix(Unix::Milliseconds), Transform::new("t").to_iso8601(), Transform::new("x").pack(["t"])];
    let (row, _) = plan(&packed).apply(vec![Value::Int(1), Value::Int(1_700_014_400_022), Value::Null, Value::Null]);
    assert_eq!(row.last(), Some(&Value::Json("{\"t\":\"2023-11-15T02:13:20.022Z\"}".into())));
}

#[test]
fn text_is_parsed_cast_cut_and_changed() {
    let json = |on_error, default: Option<&str>, value: Value<'static>| {
        let default = default.map(|json| serde_json::from_str(json).expect("it is JSON"));
        make(step().parse_json(ParseJson { on_error, default }), value)
    };
    assert_eq!(json(OnError::Refuse, None, text("{\"a\": 1.50}")), made("{\"a\": 1.50}"));
    assert!(json(OnError::Refuse, Some("[]"), text("{broken")).is_err());
    let once = "expected valid JSON, not this text";
    assert_eq!(json(OnError::Refuse, None, text("{broken")), Err(once.to_owned()), "once is enough");
    assert_eq!(json(OnError::Default, Some("[]"), text("{broken")), made("[]"));
    assert_eq!(json(OnError::Refuse, Some("[]"), Value::Null), made("[]"));
    assert_eq!(json(OnError::Refuse, None, text("")), Ok(None));

    assert_eq!(make(step().cast_to("numeric"), text("1.50")), made("1.50"));
    assert!(make(step().cast_to("integer"), text("1.5")).is_err());
    let with = |change: &dyn Fn(&mut Transform)| {
        let mut step = step();
        change(&mut step);
        step
    };
    let change = |steps: &[TextStep], value| make(with(&|s| s.text = Some(steps.to_vec())), value);
    assert_eq!(change(&[TextStep::Trim, TextStep::Upper], text(" straße ")), made("STRASSE"));
    assert_eq!(change(&[TextStep::Trim, TextStep::EmptyToNull], text("  ")), Ok(None));
    assert_eq!(change(&[TextStep::Lower], Value::Null), Ok(None));
    let split = |value| make(with(&|s| s.split = Some(", ".into())), value);
    assert_eq!(split(text("a, \"b\", c")), made(r#"["a","\"b\"","c"]"#));
    assert_eq!((split(text("")), split(Value::Null)), (made("[]"), Ok(None)));
    let join = Join { columns: vec!["t".into(), "d".into(), "n".into()], separator: "/".into() };
    assert_eq!(make(with(&|s| s.join = Some(join.clone())), text("a")), made("a/5"), "NULL is passed over");
}

#[test]
fn values_are_replaced_and_hidden() {
    assert_eq!(make(step().or(Parameter::Text("none".into())), Value::Null), made("none"));
    assert_eq!(make(step().or(Parameter::Text("none".into())), text("")), made("none"));
    assert_eq!(make(step().or(Parameter::Text("none".into())), text("x")), made("x"));
    assert_eq!(make(step().constant(Parameter::Int(7)), text("x")), made("7"));
    let map = |other, value| {
        let values = BTreeMap::from([("a".to_owned(), Parameter::Text("b".into()))]);
        make(step().map(ValueMap { values, other }), value)
    };
    assert_eq!(map(Other::Refuse, text("a")), made("b"));
    assert!(map(Other::Refuse, text("z")).is_err());
    assert_eq!((map(Other::Keep, text("z")), map(Other::Null, text("z"))), (made("z"), Ok(None)));
    assert_eq!(map(Other::Refuse, Value::Null), Ok(None));

    assert_eq!(make(step().mask(Mask::Redact), text("secret")), made("***"));
    let hash = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
    assert_eq!(make(step().mask(Mask::Hash), text("secret")), made(hash));
    // RFC 4231, test case 2, cut to 16 bytes.
    let mask = Mask::Pseudonym { key: "Jefe".into() };
    assert_eq!(make(step().mask(mask), text("what do ya want for nothing?")), made("5bdcc146bf60754e6a042426089575c7"));
    assert_eq!(make(step().mask(Mask::Hash), Value::Null), Ok(None));
}

#[test]
fn columns_are_packed_without_rounding_and_go() {
    let decimal = DataType::Decimal { precision: None, scale: None };
    let steps = [
        Transform::new("t").parse_json(ParseJson::default()),
        Transform::new("data").pack(["t", "n", "d"]),
        Transform::new("kind").constant(Parameter::Text("entry".into())),
    ];
    let plan = plan(&steps);
    let names: Vec<&str> = plan.table().columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["id", "data", "kind"]);
    assert!(plan.drops("t") && plan.makes("data") && !plan.makes("id"));
    let number = parse("0.10000000000000000000000000000001", &decimal).expect("a number");
    let (row, refused) = plan.apply(vec![Value::Int(1), text("[1, \"é\"]"), Value::Int(i64::MAX), number]);
    assert_eq!(refused, None);
    let data = "{\"t\":[1, \"é\"],\"n\":9223372036854775807,\"d\":0.10000000000000000000000000000001}";
    assert_eq!(row, [Value::Int(1), Value::Json(data.into()), text("entry")]);
    let (_, refused) = plan.apply(vec![Value::Int(1), Value::Null, Value::Null, parse("NaN", &decimal).expect("a number")]);
    let refused = refused.expect("JSON has no NaN");
    assert_eq!(refused.column, "data");
    assert!(refused.reason.starts_with("d: "), "{}", refused.reason);
}

#[test]
fn what_does_not_fit_the_table_is_one_clear_error() {
    let refuse = |step: Transform| {
        let entity = Entity::new("entries").with_transform(step);
        let error = TransformPlan::new(&entity, &source(), &["id".to_owned()], None).expect_err("it does not fit");
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    };
    assert!(refuse(Transform::new("tt").mask(Mask::Redact)).contains("did you mean \"t\""));
    assert!(refuse(Transform::new("data").pack(["t", "nope"])).contains("\"nope\""));
    assert!(refuse(Transform::new("id").mask(Mask::Hash)).contains("belongs to the key"));
    assert!(refuse(Transform::new("data").pack(["id"])).contains("copy it first"));
    assert!(refuse(Transform::new("t").cast_to("numbr")).contains("numeric"));
}

#[test]
fn only_what_is_written_or_taken_by_a_step_is_read() {
    let reads = |entity: Entity| {
        let plan =
            TransformPlan::new(&entity, &source(), &["id".to_owned()], None).expect("the steps fit").expect("there are steps");
        let values = plan.reads().iter().map(|name| text(name)).collect();
        let (row, refused) = plan.apply(values);
        assert_eq!(refused, None);
        let row: Vec<String> = row.iter().map(|value| to_text(value).into_owned()).collect();
        (plan.reads().join(" "), row.join(" "))
    };
    let hidden = Transform::new("d").mask(Mask::Redact);
    let entity = Entity::new("entries").with_transform(hidden.clone());
    assert_eq!(reads(entity.clone()), ("id t n d".into(), "id t n ***".into()));
    assert_eq!(reads(entity.clone().with_exclude("t")), ("id n d".into(), "id  n ***".into()));
    assert_eq!(reads(entity.clone().with_set("n", Parameter::Int(1))), ("id t d".into(), "id t  ***".into()));
    // What is left out may still be taken by a step, and what a step replaces need not be read.
    let joined = Transform { join: Some(Join { columns: vec!["t".into()], separator: String::new() }), ..Transform::new("j") };
    let entity = Entity::new("entries").with_transform(joined).with_transform(Transform::new("d").constant(Parameter::Int(7)));
    let entity = entity.with_exclude("t").with_exclude("n");
    assert_eq!(reads(entity), ("id t".into(), "id t  7 t".into()));
    let step = Transform::new("x").constant(Parameter::Int(7));
    let nothing = ["id", "t", "n", "d"].iter().fold(Entity::new("entries").with_transform(step), |e, c| e.with_exclude(*c));
    let plan = TransformPlan::new(&nothing, &source(), &[], None).expect("the steps fit").expect("there are steps");
    assert_eq!(plan.reads().len(), 4, "a row needs a column");
}

#[test]
fn a_column_that_a_step_makes_may_be_null_only_if_the_step_can_make_null() {
    let mut table = source();
    for column in &mut table.columns {
        column.nullable = column.name != "n";
    }
    let nullable = |steps: &[Transform]| {
        let entity = steps.iter().fold(Entity::new("entries"), |entity, step| entity.with_transform(step.clone()));
        let plan =
            TransformPlan::new(&entity, &table, &["id".to_owned()], None).expect("the steps fit").expect("there are steps");
        plan.table().column("x").expect("it is made").nullable
    };
    let copy = |from: &str| Transform { copy: Some(from.to_owned()), ..Transform::new("x") };
    let x = || Transform::new("x");
    let json = |default| ParseJson { on_error: OnError::Default, default };
    let map = |other| ValueMap { values: BTreeMap::from([("1".to_owned(), Parameter::Int(2))]), other };
    for (steps, expected) in [
        (vec![x().constant(Parameter::Int(1))], false),
        (vec![x().pack(["t", "d"])], false),
        (vec![x().pack(["t", "d"]), x().mask(Mask::Hash)], false),
        (vec![Transform { join: Some(Join { columns: vec!["t".into()], separator: String::new() }), ..x() }], false),
        (vec![copy("n")], false),
        (vec![copy("t")], true),
        (vec![copy("n"), x().from_unix(Unix::Milliseconds)], false),
        (vec![copy("n"), x().from_unix(Unix::Milliseconds), x().to_unix(Unix::Milliseconds)], false),
        (vec![copy("t"), x().from_unix(Unix::Milliseconds)], true),
        (vec![copy("t"), x().or(Parameter::Text(String::new()))], false),
        (vec![copy("t"), x().or(Parameter::Text(String::new())), x().mask(Mask::Redact)], false),
        (vec![copy("n"), x().parse_json(json(None))], true),
        (vec![copy("t"), x().parse_json(json(Some(serde_json::json!([]))))], false),
        (vec![copy("n"), Transform { text: Some(vec![TextStep::Trim]), ..x() }], false),
        (vec![copy("n"), Transform { text: Some(vec![TextStep::Trim, TextStep::EmptyToNull]), ..x() }], true),
        (vec![copy("n"), x().map(map(Other::Refuse))], false),
        (vec![copy("n"), x().map(map(Other::Keep))], false),
        (vec![copy("n"), x().map(map(Other::Null))], true),
        (vec![copy("n"), x().cast_to("text")], false),
        (vec![copy("d"), x().cast_to("text")], true),
    ] {
        assert_eq!(nullable(&steps), expected, "{steps:?}");
    }
}

/// The source's table with what it makes for the steps: `t` and `made`, both integers.
fn computing() -> TableSchema {
    let computed = |name: &str| Computed {
        column: table("x", &[(name, DataType::Int64)], &[]).columns[0].clone(),
        made: name.to_owned(),
        expression: Expression::parse("1", &BTreeMap::new()).expect("an expression"),
        pure: false,
    };
    TableSchema { computed: vec![computed("t (sql)"), computed("made")], ..source() }
}

#[test]
fn what_the_source_makes_is_a_column_like_others_and_leaves_what_it_replaces_to_earlier_steps() {
    let copy = |from: &str, to: &str| Transform { copy: Some(from.to_owned()), ..Transform::new(to) };
    let entity = [
        copy("t", "before"),
        Transform::new("t").constant(Parameter::Int(7)),
        Transform::new("t").sql("n + 1"),
        Transform::new("made").sql("n + 2").of_type("text"),
        copy("made", "after"),
    ];
    let entity = entity.into_iter().fold(Entity::new("entries"), Entity::with_transform);
    let key = ["id".to_owned()];
    let made = |entity: &Entity| {
        let plan = TransformPlan::new(entity, &computing(), &key, None).expect("the steps fit").expect("there are steps");
        let values = plan.reads().iter().map(|name| match name.as_str() {
            "t (sql)" => Value::Int(6),
            "made" => Value::Int(8),
            other => text(other),
        });
        let (row, refused) = plan.apply(values.collect());
        assert_eq!(refused, None);
        (plan, row)
    };
    let (plan, row) = made(&entity);
    let names: Vec<&str> = plan.table().columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["id", "t", "n", "d", "before", "made", "after"]);
    let expected = [text("id"), Value::Int(6), text("n"), text("d"), text("t"), text("8"), text("8")];
    assert_eq!(row, expected);
    assert_eq!(plan.constant("t"), None, "it is none any more");
    assert!(plan.makes("t") && plan.makes("made") && plan.table().computed.is_empty());
    let types: Vec<&DataType> =
        ["t", "made"].iter().map(|name| &plan.table().column(name).expect("it is there").data_type).collect();
    assert_eq!(types, [&DataType::Int64, &DataType::TEXT]);

    // Of the table's own columns none is read for nothing.
    let (plan, row) = made(&entity.clone().with_exclude("n").with_exclude("d"));
    assert_eq!(plan.reads(), ["id", "t", "t (sql)", "made"]);
    assert_eq!((&row[1], &row[4..]), (&Value::Int(6), &expected[4..]));

    let error = TransformPlan::new(&entity, &source(), &key, None).expect_err("nobody asked the source");
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[test]
fn code_is_given_the_tables_own_columns_and_what_the_source_makes_comes_behind_what_it_returns() {
    #[derive(Debug)]
    struct Shorter;
    impl Transformer for Shorter {
        fn table(&self, source: &TableSchema) -> Result<TableSchema> {
            Ok(TableSchema { columns: source.columns[..2].to_vec(), ..source.clone() })
        }
        fn apply<'v>(&self, mut row: Vec<Value<'v>>) -> std::result::Result<Vec<Value<'v>>, Refused> {
            assert_eq!(row.len(), 4);
            row.truncate(2);
            match row[1].is_null() {
                true => Err(Refused { column: "t".to_owned(), reason: "it is NULL".to_owned() }),
                false => Ok(row),
            }
        }
        fn version(&self) -> String {
            "1".to_owned()
        }
    }
    let code: Arc<dyn Transformer> = Arc::new(Shorter);
    let steps = [Transform::new("x").sql("n + 1"), Transform::new("y").sql("n + 2")];
    let entity = steps.into_iter().fold(Entity::new("entries"), Entity::with_transform);
    let plan = TransformPlan::new(&entity, &computing(), &["id".to_owned()], Some(&code)).expect("it fits").expect("code");
    let row = |t: Value<'static>| vec![Value::Int(1), t, Value::Int(2), Value::Int(3), Value::Int(6), Value::Int(8)];
    assert_eq!(plan.apply(row(text("a"))), (vec![Value::Int(1), text("a"), Value::Int(6), Value::Int(8)], None));
    let (refused, why) = plan.apply(row(Value::Null));
    assert_eq!((&refused[0], why.expect("it is refused").column.as_str()), (&Value::Int(1), "t"));
}
