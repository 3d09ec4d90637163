//! Details without a key of their own, replaced parent by parent. What is compared is joined by independent SQL over what the rows say.

use super::remapped_ids::{sums, texts};
use migrate_tests::{Database, Engine, PAIRS, Project, Random, crosswise};

const SOURCE: &str = "
    CREATE TABLE orders (id integer PRIMARY KEY, code text NOT NULL UNIQUE);
    CREATE TABLE lines (id integer PRIMARY KEY, order_id integer NOT NULL REFERENCES orders (id), item text, amount numeric(8,2));";

const LINES: &str = "SELECT o.code || '/' || COALESCE(l.item, '-') || '/' || CAST(l.amount * 100 AS integer) FROM lines l \
                     JOIN orders o ON o.id = l.order_id WHERE o.code NOT LIKE 'own%'";
/// What the lines of each order have got as numbers from the target.
const NUMBERS: &str = "SELECT o.code || ':' || l.nr FROM lines l JOIN orders o ON o.id = l.order_id";

/// Orders keep their ids, or get new ones.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ids {
    Copied,
    Given,
}

fn job(ids: Ids) -> String {
    let orders = if ids == Ids::Given { "key = [\"code\"]\ngenerated = [\"id\"]\n" } else { "" };
    format!(
        "mode = \"replace\"\ndeletes = {{ mode = \"hard\", max = \"100%\" }}\n[[jobs.copy.entities]]\nsource = \"orders\"\n{orders}\
         [[jobs.copy.entities]]\nsource = \"lines\"\nreplace_per = [\"order_id\"]\ncolumns = {{ exclude = [\"id\"] }}\n"
    )
}

/// Tables of the target that number their rows, with an order and lines of others.
fn target_tables(target: &Database, ids: Ids) {
    let serial = match target {
        Database::Postgres(_) => "serial PRIMARY KEY",
        Database::Sqlite(_) => "INTEGER PRIMARY KEY",
    };
    let own = if ids == Ids::Given { 1 } else { 9001 };
    target.run(&format!(
        "CREATE TABLE orders (id {serial}, code text NOT NULL UNIQUE);
         CREATE TABLE lines (nr {serial}, order_id integer NOT NULL REFERENCES orders (id), item text, amount numeric(8,2), seen text);
         CREATE INDEX of_order ON lines (order_id);
         INSERT INTO orders (id, code) VALUES ({own}, 'own1');
         INSERT INTO lines (order_id, item, amount, seen) VALUES ({own}, 'ours', 1, 'yes'), ({own}, 'ours', 1, 'yes');"
    ));
    if let (Ids::Given, Database::Postgres(target)) = (ids, target) {
        target.run("SELECT setval('orders_id_seq', 1)");
    }
}

fn both(from: Engine, to: Engine, ids: Ids) -> (Project, Database, Database) {
    let project = Project::new();
    let source = Database::new(from, project.path(), "source");
    let target = Database::new(to, project.path(), "target");
    source.run(SOURCE);
    project.write_job(&source.url(), &target.url(), &job(ids));
    (project, source, target)
}

fn assert_arrived(project: &Project, source: &Database, target: &Database, case: &str) {
    assert_eq!(texts(target, LINES), texts(source, LINES), "{case}");
    let again = project.copy();
    assert_eq!(sums(&again, ["inserted", "updated", "deleted", "pending"]), [0, 0, 0, 0], "P4 {case}: {again}");
    let verified = project.run(["verify", "--entity", "lines", "--json"]).json();
    assert_eq!(verified["equal"], true, "{case}: {verified}");
}

/// Runs, and asserts that a plan has said so before.
fn planned(project: &Project, expected: [u64; 3], case: &str) {
    let before = project.run(["plan", "--json"]).expect(0).json();
    let report = project.run(["run", "--json", "--plan", before["hash"].as_str().expect("a hash")]).expect(0).json();
    for done in [&before, &report] {
        let lines = done["changes"].as_array().or_else(|| done["entities"].as_array()).expect("entities");
        let lines = lines.iter().find(|entity| entity["name"] == "lines").expect("lines are moved");
        let counts = ["inserted", "deleted", "unchanged"].map(|counter| lines[counter].as_u64().expect("a number"));
        assert_eq!(counts, expected, "{case}: {done}");
    }
}

#[test]
fn a_parents_rows_are_replaced_as_a_set_and_those_of_others_stay() {
    for (from, to) in PAIRS {
        for ids in [Ids::Copied, Ids::Given] {
            let case = format!("{from:?} {to:?} {ids:?}");
            let (project, source, target) = both(from, to, ids);
            target_tables(&target, ids);
            source.run(
                "INSERT INTO orders VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd');
                 INSERT INTO lines VALUES (1, 1, 'x', 1.50), (2, 1, 'x', 1.50), (3, 2, 'x', 2), (4, 2, NULL, 3), (5, 3, 'z', 4), (6, 4, 'w', 0.05);",
            );
            planned(&project, [6, 0, 0], &case);
            assert_arrived(&project, &source, &target, &case);
            let numbers = texts(&target, NUMBERS);

            // WHEN one has a copy less, one another value, one none any more, and one came anew under the source's other id
            source.run(
                "DELETE FROM lines WHERE id = 1; UPDATE lines SET amount = 3.01 WHERE id = 4; DELETE FROM lines WHERE id = 5;
                 DELETE FROM lines WHERE id = 6; INSERT INTO lines VALUES (60, 4, 'w', 0.05);",
            );
            planned(&project, [3, 5, 1], &case);
            assert_arrived(&project, &source, &target, &case);
            let of = |numbers: &[String], code: &str| {
                numbers.iter().filter(|number| number.starts_with(code)).cloned().collect::<Vec<_>>()
            };
            let after = texts(&target, NUMBERS);
            assert_eq!(of(&after, "d:"), of(&numbers, "d:"), "{case}: what is equal is not touched");
            assert_eq!(target.matching("lines", "item = 'ours' AND seen = 'yes'"), 2, "{case}");

            // WHEN others change a set of the job's, the next run makes it the source's again
            target.run("UPDATE lines SET item = 'altered' WHERE item = 'w'; INSERT INTO lines (order_id, item) SELECT order_id, 'more' FROM lines WHERE item = 'altered'");
            let verified = project.run(["verify", "--entity", "lines", "--json"]).expect(4).json();
            assert_eq!(sums(&verified, ["missing", "extra"]), [1, 2], "{case}: {verified}");
            planned(&project, [1, 2, 3], &case);
            assert_arrived(&project, &source, &target, &case);

            // WHEN a parent goes with its rows
            source.run("DELETE FROM lines WHERE order_id = 2; DELETE FROM orders WHERE id = 2");
            let report = project.copy();
            assert_eq!(sums(&report, ["deleted", "inserted", "conflicts"]), [3, 0, 0], "{case}: {report}");
            assert_arrived(&project, &source, &target, &case);
            assert_eq!(target.matching("lines", "item = 'ours' AND seen = 'yes'"), 2, "{case}");
        }
    }
}

#[test]
fn tables_that_the_job_creates_take_sets_under_copied_and_given_ids() {
    for (from, to) in PAIRS {
        for ids in [Ids::Copied, Ids::Given] {
            let case = format!("{from:?} {to:?} {ids:?}");
            let (project, source, target) = both(from, to, ids);
            source.run(
                "INSERT INTO orders VALUES (71, 'a'), (72, 'b');
                 INSERT INTO lines VALUES (1, 71, 'x', 1.50), (2, 71, 'x', 1.50), (3, 72, 'x', 2);",
            );
            planned(&project, [3, 0, 0], &case);
            assert_arrived(&project, &source, &target, &case);
            assert_eq!(target.matching("orders", "id < 3") > 0, ids == Ids::Given, "{case}");
            source.run("INSERT INTO lines VALUES (4, 72, 'y', 1); INSERT INTO orders VALUES (5, 'c'); INSERT INTO lines VALUES (5, 5, 'n', 1)");
            planned(&project, [3, 1, 2], &case);
            assert_arrived(&project, &source, &target, &case);
        }
    }
}

#[test]
fn killed_runs_leave_whole_sets_and_the_next_one_brings_the_rest() {
    const ORDERS: u64 = 60;
    let mut random = Random::seeded("sets and kills");
    for (from, to) in PAIRS {
        let (project, source, target) = both(from, to, Ids::Given);
        target_tables(&target, Ids::Given);
        let mut sql = String::new();
        for order in 1..=ORDERS {
            sql.push_str(&format!("INSERT INTO orders VALUES ({order}, 'o{order}');"));
            for line in 0..5 {
                sql.push_str(&format!("INSERT INTO lines VALUES ({}, {order}, 'i{}', {line});", order * 10 + line, line % 2));
            }
        }
        source.run(&sql);
        for round in 0..4 {
            let mut running = project.start([]);
            running.wait_for_commits(1 + u32::try_from(random.below(3)).expect("a small number"));
            running.kill();
            let per_order = "SELECT o.code || ':' || count(*) FROM lines l JOIN orders o ON o.id = l.order_id WHERE o.code LIKE 'o%' \
                             AND o.code NOT LIKE 'own%' AND l.item <> 'late' GROUP BY o.code";
            assert!(texts(&target, per_order).iter().all(|text| text.ends_with(":5") || text.ends_with(":4")), "{from:?} {to:?}");
            let order = 1 + random.below(ORDERS);
            source.run(&format!(
                "INSERT INTO lines VALUES ({}, {order}, 'late', 1); DELETE FROM lines WHERE id = {}",
                90_000 + round,
                (1 + round * 7) * 10
            ));
        }
        project.copy();
        assert_arrived(&project, &source, &target, &format!("{from:?} {to:?}"));
        assert_eq!(target.matching("lines", "item = 'ours' AND seen = 'yes'"), 2, "{from:?} {to:?}");
    }
}

#[test]
fn two_entities_share_a_table_of_details_that_a_constant_tells_apart() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        source.run(
            "CREATE TABLE event_images (event_id integer, url text); CREATE TABLE post_images (post_id integer, url text);
             INSERT INTO event_images VALUES (1, 'a'), (1, 'b'), (2, 'a'); INSERT INTO post_images VALUES (1, 'c'), (3, 'd');",
        );
        target.run("CREATE TABLE images (kind text, owner integer, url text); INSERT INTO images VALUES ('ours', 1, 'e')");
        let entity = |kind: &str| {
            format!(
                "[[jobs.copy.entities]]\nsource = \"{kind}_images\"\ntarget = \"images\"\nreplace_per = [\"{kind}_id\"]\n\
                 columns = {{ rename = {{ {kind}_id = \"owner\" }}, set = {{ kind = \"{kind}\" }} }}\n"
            )
        };
        project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\n{}{}", entity("event"), entity("post")));
        assert_eq!(sums(&project.copy(), ["inserted", "deleted"]), [5, 0], "{from:?} {to:?}");
        source.run("UPDATE event_images SET url = 'bb' WHERE url = 'b'; DELETE FROM post_images WHERE post_id = 3");
        assert_eq!(sums(&project.copy(), ["inserted", "deleted", "unchanged"]), [2, 3, 2], "{from:?} {to:?}");
        let all = texts(&target, "SELECT kind || owner || url FROM images");
        assert_eq!(all, ["event1a", "event1bb", "event2a", "ours1e", "post1c"], "{from:?} {to:?}");
        assert_eq!(sums(&project.copy(), ["inserted", "deleted", "unchanged"]), [0, 0, 4], "P4 {from:?} {to:?}");
        assert_eq!(project.run(["verify", "--json"]).expect(0).json()["equal"], true, "{from:?} {to:?}");
    }
}

#[test]
fn what_a_trigger_makes_of_a_row_is_no_difference_of_its_set() {
    for (from, to) in PAIRS {
        let (project, source, target) = both(from, to, Ids::Copied);
        target_tables(&target, Ids::Copied);
        target.run(match to {
            Engine::Postgres(_) => {
                "CREATE FUNCTION up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.item := upper(NEW.item); RETURN NEW; END $$;
                 CREATE TRIGGER up BEFORE INSERT OR UPDATE ON lines FOR EACH ROW EXECUTE FUNCTION up()"
            }
            Engine::Sqlite => {
                "CREATE TRIGGER up AFTER INSERT ON lines BEGIN UPDATE lines SET item = upper(item) WHERE nr = NEW.nr; END"
            }
        });
        source.run("INSERT INTO orders VALUES (1, 'a'), (2, 'b'); INSERT INTO lines VALUES (1, 1, 'x', 1), (2, 1, 'y', 2), (3, 2, 'z', 1)");
        let case = format!("{from:?} {to:?}");
        planned(&project, [3, 0, 0], &case);
        planned(&project, [0, 0, 3], &case);
        source.run("UPDATE lines SET amount = 5 WHERE id = 3");
        planned(&project, [1, 1, 2], &case);
        planned(&project, [0, 0, 3], &case);
        assert_eq!(target.matching("lines", "item = 'Z' AND amount = 5"), 1, "{case}");
    }
}

#[test]
fn a_row_whose_parent_has_no_new_id_is_refused_and_its_set_completed_once_it_has() {
    for (from, to) in PAIRS {
        let case = format!("{from:?} {to:?}");
        let project = Project::new();
        let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
        source.run(&SOURCE.replace(" REFERENCES orders (id)", ""));
        target_tables(&target, Ids::Given);
        let job = job(Ids::Given).replace(
            "replace_per",
            "references = [{ columns = [\"order_id\"], entity = \"orders\", key = [\"id\"] }]\nreplace_per",
        );
        project.write_job(&source.url(), &target.url(), &format!("orphans = \"allow\"\n{job}"));
        source.run("INSERT INTO orders VALUES (1, 'a'); INSERT INTO lines VALUES (1, 1, 'x', 1), (2, 7, 'y', 2), (3, 7, 'y', 2)");
        for inserted in [2, 0] {
            let report = project.run(["run", "--json"]).expect(3).json();
            assert_eq!(sums(&report, ["inserted", "quarantined"]), [inserted, 2], "{case} {report}");
            let kept = project.run(["quarantine", "list", "--json"]).expect(0).json();
            assert_eq!(kept["rows"].as_array().map(Vec::len), Some(2), "{case} {kept}");
        }
        source.run("INSERT INTO orders VALUES (7, 'b')");
        assert_eq!(sums(&project.copy(), ["inserted", "quarantined"]), [3, 0], "{case}");
        let kept = project.run(["quarantine", "list", "--json"]).expect(0).json();
        assert_eq!(kept["rows"].as_array().map(Vec::len), Some(0), "{case} {kept}");
        assert_arrived(&project, &source, &target, &case);
    }
}

#[test]
fn a_set_of_which_a_row_is_refused_stays_as_it_was_until_none_is() {
    for ((from, to), (ids, deletes)) in crosswise([(Ids::Given, "hard"), (Ids::Copied, "ignore")]) {
        let case = format!("{from:?} {to:?} {ids:?} {deletes}");
        let (project, source, target) = both(from, to, ids);
        let guard = "{ mode = \"hard\", max = \"100%\" }";
        let job = if deletes == "hard" { job(ids) } else { job(ids).replace(guard, "\"ignore\"") };
        project.write_job(&source.url(), &target.url(), &job);
        let serial = if matches!(target, Database::Postgres(_)) { "serial PRIMARY KEY" } else { "INTEGER PRIMARY KEY" };
        target.run(&format!(
            "CREATE TABLE orders (id {serial}, code text NOT NULL UNIQUE);
             CREATE TABLE lines (nr {serial}, order_id integer NOT NULL REFERENCES orders (id), item text NOT NULL, amount numeric(8,2));"
        ));
        source.run(
            "INSERT INTO orders VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd');
             INSERT INTO lines VALUES (1, 1, 'x', 1), (2, 2, 'x', 1), (3, 2, 'y', 2), (4, 4, 'v', 7)",
        );
        planned(&project, [4, 0, 0], &case);
        let numbers = texts(&target, NUMBERS);

        // WHEN the only row of one set, one of another's and one of a new one's are refused, and others change beside them
        source.run(
            "UPDATE lines SET item = NULL WHERE id IN (1, 3); UPDATE lines SET amount = 5 WHERE id = 2;
             INSERT INTO lines VALUES (5, 3, 'z', 3), (6, 3, NULL, 4); DELETE FROM lines WHERE id = 4",
        );
        for (inserted, deleted, unchanged) in [(1, 1, 1), (0, 0, 2)] {
            let before = project.run(["plan", "--json"]).json();
            let report = project.run(["run", "--json"]).expect(3).json();
            for done in [&before, &report] {
                let lines = done["changes"].as_array().or_else(|| done["entities"].as_array()).expect("entities");
                let lines = lines.iter().find(|entity| entity["name"] == "lines").expect("lines are moved");
                let counts = ["read", "inserted", "deleted", "unchanged", "quarantined"].map(|counter| lines[counter].as_u64());
                assert_eq!(counts, [5, inserted, deleted, unchanged, 3].map(Some), "{case}: {done}");
            }
            assert_eq!(texts(&target, LINES), ["a/x/100", "b/x/100", "b/y/200", "c/z/300"], "{case}");
            let after = texts(&target, NUMBERS);
            assert_eq!(after[..3], numbers[..3], "{case}: what stays is not touched");
        }

        // WHEN one is let in, one is gone, and the others of a set with a refused row are gone
        source.run("UPDATE lines SET item = 'y' WHERE id = 3; DELETE FROM lines WHERE id IN (1, 5)");
        let report = project.run(["run", "--json"]).expect(3).json();
        assert_eq!(sums(&report, ["deleted", "quarantined"]), [3, 1], "{case}: {report}");
        assert_eq!(texts(&target, LINES), ["b/x/500", "b/y/200", "c/z/300"], "{case}");
        source.run("UPDATE lines SET item = 'u' WHERE id = 6");
        planned(&project, [1, 1, 2], &case);
        assert_arrived(&project, &source, &target, &case);
    }
}

#[test]
fn a_row_whose_parents_new_id_does_not_fit_its_column_is_refused() {
    // A column of SQLite holds any number.
    for (from, to) in PAIRS.into_iter().filter(|(_, to)| *to != Engine::Sqlite) {
        let (project, source, target) = both(from, to, Ids::Given);
        target.run(
            "CREATE TABLE orders (id bigint GENERATED BY DEFAULT AS IDENTITY (START WITH 3000000000) PRIMARY KEY, code text NOT NULL UNIQUE);
             CREATE TABLE lines (order_id integer, item text, amount numeric(8,2))",
        );
        source.run("INSERT INTO orders VALUES (1, 'a'); INSERT INTO lines VALUES (1, 1, 'x', 1)");
        for _ in 0..2 {
            let report = project.run(["run", "--json"]).expect(3).json();
            assert_eq!(sums(&report, ["quarantined"]), [1], "{from:?} {to:?}: {report}");
            assert_eq!(target.count("lines"), 0, "{from:?} {to:?}: an id that no order has");
        }
    }
}

#[test]
fn lines_that_have_left_the_filter_are_not_compared() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, target) = (Database::new(from, project.path(), "source"), Database::new(to, project.path(), "target"));
        source.run(SOURCE);
        target_tables(&target, Ids::Copied);
        source.run("INSERT INTO orders VALUES (1, 'a'), (2, 'b'); INSERT INTO lines VALUES (1, 1, 'x', 1), (2, 1, 'x', 1), (3, 1, 'y', 2), (4, 2, 'z', 3)");
        project.write_job(&source.url(), &target.url(), &job(Ids::Copied));
        project.copy();
        // A whole set, and nothing of another.
        let narrower = job(Ids::Copied) + "where = \"order_id < 2\"\n";
        project.write_job(&source.url(), &target.url(), &narrower);
        project.copy();
        let report = project.run(["verify", "--entity", "lines", "--json"]).expect(0).json();
        assert_eq!(report["entities"][0]["extra"], 0, "{from:?} to {to:?}: {report}");
        source.run("DELETE FROM lines WHERE id = 4");
        let report = project.run(["verify", "--entity", "lines", "--json"]).json();
        let still = target.matching("lines", "item = 'z'");
        assert_eq!(report["entities"][0]["extra"], still, "{from:?} to {to:?}: {report}");
    }
}
