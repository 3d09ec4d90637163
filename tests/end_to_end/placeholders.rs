//! Rows that stand in for parents that are nowhere.

use crate::orphans::{SOURCE, job, players};
use migrate_tests::{Database, Engine, PAIRS, Project, crosswise};
use serde_json::json;

/// Posts must have an event, by its portable key; those of 2 and 3 are nowhere.
const POSTS: &str = "CREATE TABLE events (xmlid text PRIMARY KEY, title text NOT NULL, status text DEFAULT 'new');
    CREATE TABLE posts (id integer PRIMARY KEY, event_xmlid text NOT NULL);
    INSERT INTO events VALUES ('e1', 'one', 'old');
    INSERT INTO posts VALUES (1, 'e1'), (2, 'e2'), (3, 'e3');";

const POSTS_CONSTRAINED: &str = "CREATE TABLE events (xmlid text PRIMARY KEY, title text NOT NULL, status text DEFAULT 'new');
    CREATE TABLE posts (id integer PRIMARY KEY, event_xmlid text NOT NULL REFERENCES events (xmlid));";

fn posts_job(mode: &str, placeholder: &str) -> String {
    format!(
        "mode = \"{mode}\"
         [[jobs.copy.entities]]
         source = \"events\"
         placeholder = {placeholder}
         [[jobs.copy.entities]]
         source = \"posts\"
         references = [{{ columns = [\"event_xmlid\"], entity = \"events\", orphans = \"placeholder\" }}]\n"
    )
}

fn posts_sides(project: &Project, (from, to): (Engine, Engine)) -> (Database, Database) {
    let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
    source.run(POSTS);
    (source, target)
}

#[test]
fn a_placeholder_stands_in_for_parents_that_are_nowhere_and_goes_with_the_last_of_them() {
    for (pair, (constrained, mode)) in crosswise([(true, "replace"), (false, "replace"), (true, "init"), (true, "update")]) {
        let project = Project::new();
        let (source, target) = posts_sides(&project, pair);
        if constrained {
            target.run(POSTS_CONSTRAINED);
        }
        project.write_job(&source.url(), &target.url(), &posts_job(mode, "{ title = \"to come\" }"));
        let case = format!("{pair:?}, constrained: {constrained}, {mode}");
        let plan = project.run(["plan", "--json"]).expect(0).json();
        assert_eq!((&plan["changes"][1]["inserted"], &plan["changes"][1]["orphans"]), (&json!(3), &json!(2)), "{case}");
        assert_eq!(target.count("events"), 0, "{case}: a plan writes nothing");
        let run = project.run(["run", "--json"]).expect(0);
        run.says(&["refer by (event_xmlid) to a parent that is not there", "a placeholder stands in"]);
        let report = run.json();
        let (events, posts) = (&report["entities"][0], &report["entities"][1]);
        assert_eq!((&events["inserted"], &posts["inserted"], &posts["orphans"]), (&json!(1), &json!(3), &json!(2)), "{case}");
        assert_eq!(target.matching("events", "xmlid = 'setup' AND title = 'to come' AND status = 'new'"), 1, "{case}");
        assert_eq!(target.matching("posts", "event_xmlid = 'setup'"), 2, "{case}");
        let again = project.copy();
        assert_eq!((&again["entities"][0]["unchanged"], &again["entities"][1]["unchanged"]), (&json!(1), &json!(3)), "{case}");
        let _ = project.run(["verify"]).expect(0);
        let links = project.run(["links", "--json"]).expect(0).json();
        assert_eq!((&links["references"][0]["state"], &links["references"][0]["rows"]), (&json!("placeholder"), &json!(2)));

        // One parent comes: the placeholder stays for the other's sake. Then that one does.
        source.run("INSERT INTO events VALUES ('e2', 'two', 'x')");
        let report = project.copy();
        assert_eq!((&report["entities"][1]["updated"], &report["entities"][1]["orphans"]), (&json!(1), &json!(1)), "{case}");
        assert_eq!(target.matching("events", "xmlid = 'setup'"), 1, "{case}");
        source.run("INSERT INTO events VALUES ('e3', 'three', 'x')");
        project.copy();
        source.assert_holds(&target, &["events", "posts"]);
        // The next orphan has one again.
        source.run("INSERT INTO posts VALUES (4, 'e4')");
        let report = project.copy();
        assert_eq!((&report["entities"][1]["inserted"], &report["entities"][1]["orphans"]), (&json!(1), &json!(1)), "{case}");
        assert_eq!(target.matching("events", "xmlid = 'setup'"), 1, "{case}");
    }
}

#[test]
fn a_placeholder_stays_where_the_target_would_delete_rows_with_it_that_the_run_does_not_move() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = posts_sides(&project, pair);
        target.run(
            "CREATE TABLE events (xmlid text PRIMARY KEY, title text NOT NULL, status text DEFAULT 'new');
             CREATE TABLE posts (id integer PRIMARY KEY, event_xmlid text NOT NULL REFERENCES events (xmlid) ON DELETE CASCADE);",
        );
        let other = "[[jobs.copy.entities]]
            source = \"visits\"
            references = [{ columns = [\"event_xmlid\"], entity = \"events\", orphans = \"placeholder\" }]\n";
        source.run("CREATE TABLE visits (id integer PRIMARY KEY, event_xmlid text)");
        let job = posts_job("replace", "{ title = \"to come\" }");
        project.write_job(&source.url(), &target.url(), &format!("{job}{other}"));
        project.copy();
        assert_eq!(target.matching("posts", "event_xmlid = 'setup'"), 2, "{pair:?}");
        let _ = project.run(["run", "--entity", "events", "--entity", "visits"]).expect(0);
        assert_eq!(target.matching("posts", "event_xmlid = 'setup'"), 2, "{pair:?}");
        source.run("DELETE FROM posts WHERE id > 1");
        project.write_job(&source.url(), &target.url(), &format!("deletes = {{ mode = \"hard\", max = 9 }}\n{job}{other}"));
        target.run(
            "CREATE TABLE badges (event_xmlid text REFERENCES events (xmlid) ON DELETE CASCADE); INSERT INTO badges VALUES ('setup')",
        );
        project.copy();
        assert_eq!((target.matching("events", "xmlid = 'setup'"), target.count("badges")), (1, 1), "{pair:?}: others' rows");
        target.run("DELETE FROM badges");
        project.copy();
        assert_eq!(target.matching("events", "xmlid = 'setup'"), 0, "{pair:?}: nothing refers to it any more");
    }
}

#[test]
fn a_placeholder_that_rows_refer_to_which_a_run_leaves_out_stays_though_nothing_checks_that_they_do() {
    for (pair, narrow) in
        crosswise([&["--entity", "events", "--entity", "visits"][..], &["--stage", "first"], &["--entity", "events"]])
    {
        let project = Project::new();
        let (source, target) = posts_sides(&project, pair);
        source.run("CREATE TABLE visits (id integer PRIMARY KEY, event_xmlid text)");
        let job = format!(
            "deletes = {{ mode = \"hard\", max = \"100%\" }}
             stages = [{{ name = \"first\", entities = [\"events\", \"visits\"] }}, {{ name = \"last\", entities = [\"posts\"] }}]
             {}[[jobs.copy.entities]]
             source = \"visits\"
             references = [{{ columns = [\"event_xmlid\"], entity = \"events\", orphans = \"placeholder\" }}]\n",
            posts_job("replace", "{ title = \"to come\" }")
        );
        project.write_job(&source.url(), &target.url(), &job);
        project.copy();
        let _ = project.run(["run"].into_iter().chain(narrow.iter().copied())).expect(0);
        let there = |referring: u64| {
            let found = (target.matching("events", "xmlid = 'setup'"), target.matching("posts", "event_xmlid = 'setup'"));
            assert_eq!(found, (1, referring), "{pair:?} {narrow:?}");
        };
        there(2);
        let _ = project.run(["verify"]).expect(0);
        // Only a run of the whole job asks whether any row is left that refers to it.
        source.run("DELETE FROM posts WHERE id > 1");
        let _ = project.run(["run", "--entity", "posts"]).expect(0);
        let _ = project.run(["run"].into_iter().chain(narrow.iter().copied())).expect(0);
        there(0);
        project.copy();
        source.assert_holds(&target, &["events", "posts", "visits"]);
    }
}

#[test]
fn a_placeholder_is_no_difference_either_where_the_rows_that_refer_to_it_are_not_compared() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = posts_sides(&project, pair);
        let stages = "stages = [{ name = \"first\", entities = [\"events\"] }, { name = \"second\", entities = [\"posts\"] }]\n";
        let job = format!("{stages}{}", posts_job("replace", "{ title = \"to come\" }"));
        project.write_job(&source.url(), &target.url(), &format!("deletes = {{ mode = \"hard\", max = \"100%\" }}\n{job}"));
        project.copy();
        for narrow in [["--entity", "events"], ["--stage", "first"]] {
            let verified = project.run(["verify", "--json", narrow[0], narrow[1]]).expect(0).json();
            assert_eq!(verified["entities"].as_array().map(Vec::len), Some(1), "{pair:?} {narrow:?}: {verified}");
            let _ = project.run(["verify", "--repair", narrow[0], narrow[1]]).expect(0);
            let _ = project.run(["run", "--verify", narrow[0], narrow[1]]).expect(0);
            assert_eq!(target.matching("events", "xmlid = 'setup'"), 1, "{pair:?} {narrow:?}");
        }
        // It is told from a row that is too much, and from one of its key at the source.
        target.run("INSERT INTO events VALUES ('e9', 'of others', 'x')");
        let verified = project.run(["verify", "--json", "--entity", "events"]).expect(4).json();
        assert_eq!(verified["entities"][0]["extra"], 1, "{pair:?}: {verified}");
        source.run("INSERT INTO events VALUES ('setup', 'real', 'x')");
        project.run(["verify", "--entity", "events"]).expect(2).says(&["a row of the placeholder's key"]);
    }
}

#[test]
fn a_row_that_others_have_put_there_serves_as_placeholder_and_stays() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = posts_sides(&project, pair);
        target.run(POSTS_CONSTRAINED);
        target.run("INSERT INTO events VALUES ('setup', 'of others', 'kept')");
        project.write_job(&source.url(), &target.url(), &posts_job("replace", "{ title = \"to come\" }"));
        project.copy();
        assert_eq!(target.matching("posts", "event_xmlid = 'setup'"), 2, "{pair:?}");
        source.run("DELETE FROM posts WHERE id > 1; INSERT INTO events VALUES ('e2', 'two', 'x'), ('e3', 'three', 'x')");
        source.run("INSERT INTO posts VALUES (2, 'e2'), (3, 'e3')");
        project.copy();
        assert_eq!(target.matching("events", "xmlid = 'setup' AND title = 'of others' AND status = 'kept'"), 1, "{pair:?}");
    }
}

#[test]
fn a_placeholder_that_cannot_be_made_is_refused_by_name() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = posts_sides(&project, pair);
        for (placeholder, expected) in [
            ("{}", "a placeholder needs a value for the column title"),
            ("{ titel = \"x\" }", "did you mean \"title\""),
            ("{ title = \"x\", xmlid = \"e1\" }", "the source has a row of the placeholder's key (xmlid)"),
        ] {
            project.write_job(&source.url(), &target.url(), &posts_job("replace", placeholder));
            project.run(["run"]).expect(2).says(&[expected]);
            assert_eq!((target.count("events"), target.count("posts")), (0, 0), "{pair:?}");
        }
        let (source, target) = (Database::new(pair.0, project.path(), "s2"), Database::new(pair.1, project.path(), "t2"));
        source.run(SOURCE);
        project.write_job(&source.url(), &target.url(), &job("mode = \"replace\"", "placeholder"));
        project.run(["plan"]).expect(2).says(&["a placeholder needs a value for the column id"]);
        let with = job("mode = \"replace\"", "placeholder").replacen(
            "source = \"team\"",
            "source = \"team\"\nplaceholder = { id = 0 }",
            1,
        );
        project.write_job(&source.url(), &target.url(), &with);
        let report = project.copy();
        assert_eq!((players(&report, &["orphans"]), target.matching("player", "team = 0")), (vec![2], 2), "{pair:?}");
        assert_eq!(target.matching("team", "id = 0 AND name IS NULL"), 1, "{pair:?}");
    }
}

#[test]
fn a_placeholders_key_at_the_source_is_refused_also_while_no_row_needs_it() {
    for pair in PAIRS {
        let project = Project::new();
        let (source, target) = posts_sides(&project, pair);
        source.run("DELETE FROM posts WHERE id > 1; INSERT INTO events VALUES ('setup', 'of the source', 'x')");
        project.write_job(&source.url(), &target.url(), &posts_job("replace", "{ title = \"to come\" }"));
        for command in ["run", "plan"] {
            project.run([command]).expect(2).says(&["the source has a row of the placeholder's key (xmlid)"]);
        }
        assert_eq!(target.count("events"), 0, "{pair:?}");
        project.write_job(&source.url(), &target.url(), &posts_job("replace", "{ title = \"to come\", xmlid = \"none\" }"));
        project.copy();
        let _ = project.run(["verify"]).expect(0);
        // It comes later: the comparison does not take it for a row of nobody's.
        source.run("INSERT INTO events VALUES ('none', 'of the source', 'x')");
        project.run(["verify"]).expect(2).says(&["the source has a row of the placeholder's key (xmlid)"]);
    }
}
