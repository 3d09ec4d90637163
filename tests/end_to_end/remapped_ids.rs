//! Ids that the target gives: rows arrive under new ones, and whatever refers to them follows. What is compared is joined by independent
//! SQL over what the rows say, never over their ids.

use migrate_tests::{Database, Engine, Fixture, PAIRS, Project, Random, Server};
use serde_json::Value;

pub(super) const SOURCE: &str = "
    CREATE TABLE team (id integer PRIMARY KEY, xmlid text NOT NULL UNIQUE, name text);
    CREATE TABLE employee (id integer PRIMARY KEY, team_id integer NOT NULL REFERENCES team (id), boss integer REFERENCES employee (id), name text);
    CREATE TABLE badge (employee_id integer NOT NULL REFERENCES employee (id), label text NOT NULL, note text, PRIMARY KEY (employee_id, label));";

/// Teams are known by their xmlid on both sides, employees by the key map alone, badges by their employee and label.
pub(super) const ENTITIES: &str = "
    [[jobs.copy.entities]]
    source = \"team\"
    key = [\"xmlid\"]
    generated = [\"id\"]
    [[jobs.copy.entities]]
    source = \"employee\"
    generated = [\"id\"]
    [[jobs.copy.entities]]
    source = \"badge\"
    ";

/// Everything a row says, with what it refers to.
pub(super) const TEAMS: &str = "SELECT t.xmlid || '/' || t.name FROM team t WHERE t.xmlid NOT LIKE 'own%' ORDER BY 1";
pub(super) const EMPLOYEES: &str = "SELECT e.name || '/' || t.xmlid || '/' || COALESCE(b.name, '-') FROM employee e JOIN team t ON t.id = e.team_id \
                         LEFT JOIN employee b ON b.id = e.boss WHERE e.name NOT LIKE 'own%' ORDER BY 1";
pub(super) const BADGES: &str = "SELECT e.name || '/' || b.label || '/' || b.note FROM badge b JOIN employee e ON e.id = b.employee_id \
                      WHERE e.name NOT LIKE 'own%' ORDER BY 1";

/// Tables that give ids, and hold rows of others under the ids that the source has too; one team is there already.
fn target_tables(target: &Database) {
    let (serial, identity) = match target {
        Database::Postgres(_) => ("serial PRIMARY KEY", "integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY"),
        Database::Sqlite(_) => ("INTEGER PRIMARY KEY", "INTEGER PRIMARY KEY AUTOINCREMENT"),
    };
    target.run(&format!(
        "CREATE TABLE team (id {serial}, xmlid text NOT NULL UNIQUE, name text);
         CREATE TABLE employee (id {identity}, team_id integer NOT NULL REFERENCES team (id), boss integer REFERENCES employee (id), name text);
         CREATE TABLE badge (employee_id integer NOT NULL REFERENCES employee (id), label text NOT NULL, note text, PRIMARY KEY (employee_id, label));
         INSERT INTO team (xmlid, name) VALUES ('own1', 'ours'), ('own2', 'ours'), ('own3', 'ours'), ('t2', 'there already'), ('own5', 'ours');
         INSERT INTO employee (team_id, boss, name) VALUES (1, NULL, 'own1'), (1, 1, 'own2'), (2, 1, 'own3');
         INSERT INTO badge VALUES (1, 'key', 'ours'), (2, 'key', 'ours');"
    ));
}

fn own_rows(target: &Database) -> [Vec<String>; 3] {
    [
        "SELECT t.id || '/' || t.xmlid || '/' || t.name FROM team t WHERE t.xmlid LIKE 'own%' ORDER BY 1",
        "SELECT e.id || '/' || e.name || '/' || e.team_id || '/' || COALESCE(e.boss, 0) FROM employee e WHERE e.name LIKE 'own%' ORDER BY 1",
        "SELECT b.employee_id || '/' || b.label || '/' || b.note FROM badge b WHERE b.note = 'ours' ORDER BY 1",
    ]
    .map(|sql| texts(target, sql))
}

pub(super) fn texts(database: &Database, sql: &str) -> Vec<String> {
    let mut texts: Vec<String> = match database {
        Database::Postgres(database) => database.rows(sql).into_iter().map(|row| row[0].clone().expect("no NULL")).collect(),
        Database::Sqlite(database) => database.texts(sql),
    };
    // Each engine sorts text in its own way.
    texts.sort();
    texts
}

/// Asserts that nothing of the source is missing or different to `verify`, and that no row of others is taken for one that is too much
/// where the key map alone knows rows.
pub(super) fn assert_verified(project: &Project, what: &str) {
    let run = project.run(["verify", "--json"]);
    let verified = run.json();
    let count = |entity: &Value, name: &str| entity[name].as_u64().expect("a number");
    for entity in verified["entities"].as_array().expect("entities") {
        assert_eq!(count(entity, "missing") + count(entity, "different"), 0, "{what}: {entity}");
        assert!(entity["name"] == "team" || count(entity, "extra") == 0, "{what}: {entity}");
    }
}

pub(super) fn assert_arrived(source: &Database, target: &Database, what: &str) {
    for sql in [TEAMS, EMPLOYEES, BADGES] {
        assert_eq!(texts(target, sql), texts(source, sql), "{what}: {sql}");
    }
}

fn both(from: Engine, to: Engine, settings: &str) -> (Project, Database, Database) {
    let project = Project::new();
    let source = Database::new(from, project.path(), "source");
    let target = Database::new(to, project.path(), "target");
    source.run(SOURCE);
    target_tables(&target);
    project.write_job(&source.url(), &target.url(), &format!("{settings}{ENTITIES}"));
    (project, source, target)
}

pub(super) fn sums<const N: usize>(report: &Value, counters: [&str; N]) -> [u64; N] {
    let entities = report["changes"].as_array().or_else(|| report["entities"].as_array()).expect("entities");
    counters.map(|counter| entities.iter().filter_map(|entity| entity[counter].as_u64()).sum())
}

#[test]
fn rows_arrive_under_new_ids_and_their_children_follow_in_every_later_run_and_mode() {
    for (from, to) in PAIRS {
        for mode in ["replace", "update"] {
            let case = format!("{from:?} {to:?} {mode}");
            let deletes = "deletes = { mode = \"hard\", max = \"100%\" }";
            let (project, source, target) = both(from, to, &format!("mode = \"{mode}\"\n{deletes}\n"));
            source.run(
                "INSERT INTO team VALUES (1, 't1', 'one'), (2, 't2', 'two'), (3, 't3', 'three');
                 INSERT INTO employee VALUES (1, 1, NULL, 'ann'), (2, 1, 1, 'bob'), (3, 2, 2, 'cid'), (5, 3, 1, 'eve');
                 INSERT INTO badge VALUES (1, 'key', 'a'), (1, 'car', 'b'), (3, 'key', 'c');",
            );
            let own = own_rows(&target);
            let planned = project.run(["plan", "--json"]).expect(0).json();
            let report = project.copy();
            assert_eq!(sums(&planned, ["inserted", "updated"]), [9, 1], "{case}: {planned}");
            assert_eq!(sums(&report, ["inserted", "updated", "quarantined", "pending"]), [9, 1, 0, 0], "{case}: {report}");
            assert_arrived(&source, &target, &case);
            assert_eq!(own_rows(&target), own, "{case}");
            assert_eq!(
                target.matching("team", "id = 4 AND xmlid = 't2' AND name = 'two'"),
                1,
                "{case}: the id that was there stays"
            );
            assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted", "unchanged"]), [0, 0, 0, 10], "P4 {case}");
            assert_verified(&project, &case);

            // WHEN parents and children come, change their parents, and go
            source.run(
                "INSERT INTO team VALUES (9, 't9', 'nine'); INSERT INTO employee VALUES (4, 9, 5, 'dan'), (6, 1, 4, 'fay');
                 UPDATE employee SET boss = 6, team_id = 9 WHERE id = 2; INSERT INTO badge VALUES (4, 'key', 'd');
                 UPDATE badge SET note = 'aa' WHERE employee_id = 1 AND label = 'key';
                 DELETE FROM badge WHERE employee_id = 3; DELETE FROM employee WHERE id = 3; DELETE FROM team WHERE id = 2;",
            );
            let planned = project.run(["plan", "--json"]).expect(0).json();
            let report = project.copy();
            for done in [&planned, &report] {
                assert_eq!(sums(done, ["inserted", "updated", "deleted"]), [4, 2, 3], "{case}: {done}");
            }
            assert_arrived(&source, &target, &case);
            assert_eq!(own_rows(&target), own, "{case}");
            assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted", "pending"]), [0, 0, 0, 0], "P4 {case}");
            assert_verified(&project, &case);

            // WHEN an id of the source is another row's now
            source.run(
                "DELETE FROM badge WHERE employee_id = 4; DELETE FROM employee WHERE id = 6 OR boss = 6; DELETE FROM employee WHERE id = 4;
                 INSERT INTO employee VALUES (4, 1, 1, 'new four');
                 UPDATE team SET id = 77 WHERE xmlid = 't9'; INSERT INTO team VALUES (9, 't10', 'ten'); INSERT INTO employee VALUES (8, 9, 4, 'gus'), (9, 77, 8, 'hal');",
            );
            project.copy();
            assert_arrived(&source, &target, &case);
            assert_eq!(own_rows(&target), own, "{case}");
            assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted", "pending"]), [0, 0, 0, 0], "P4 {case}");
        }
    }
}

#[test]
fn in_mode_append_what_is_there_stays_and_what_is_new_refers_to_it() {
    for (from, to) in PAIRS {
        let (project, source, target) = both(from, to, "mode = \"append\"\n");
        source.run(
            "INSERT INTO team VALUES (1, 't1', 'one'), (2, 't2', 'two');
             INSERT INTO employee VALUES (1, 2, NULL, 'ann'); INSERT INTO badge VALUES (1, 'key', 'a');",
        );
        assert_eq!(sums(&project.copy(), ["inserted", "skipped"]), [3, 1], "{from:?} {to:?}");
        source.run("UPDATE employee SET name = 'anna'; INSERT INTO employee VALUES (2, 2, 1, 'bob')");
        assert_eq!(sums(&project.copy(), ["inserted", "skipped"]), [1, 4], "{from:?} {to:?}");
        let expected = ["ann/t2/-", "bob/t2/ann"];
        assert_eq!(texts(&target, EMPLOYEES), expected, "{from:?} {to:?}");
        assert_eq!(target.matching("team", "xmlid = 't2' AND name = 'there already'"), 1);
        assert_eq!(sums(&project.copy(), ["inserted", "updated"]), [0, 0], "P4");
    }
}

#[test]
fn in_mode_append_an_id_that_is_another_rows_now_is_learnt_though_the_row_stays_as_it_is() {
    for (from, to) in PAIRS {
        let case = format!("{from:?} {to:?}");
        let (project, source, target) = both(from, to, "mode = \"append\"\n");
        source.run(
            "INSERT INTO team VALUES (1, 't1', 'one'), (2, 't2', 'two'), (7, 't7', 'seven'), (8, 't8', 'eight'), (9, 't9', 'nine');
             INSERT INTO employee VALUES (1, 1, NULL, 'ann')",
        );
        assert_eq!(sums(&project.copy(), ["inserted", "skipped"]), [5, 1], "{case}");
        // One gets a new id, so does the one that was there before the job, and two exchange theirs.
        source.run(
            "UPDATE team SET id = 77 WHERE xmlid = 't9'; UPDATE team SET id = 22 WHERE xmlid = 't2';
             UPDATE team SET id = 70 WHERE xmlid = 't7'; UPDATE team SET id = 7 WHERE xmlid = 't8'; UPDATE team SET id = 8 WHERE xmlid = 't7';
             INSERT INTO employee VALUES (9, 77, 1, 'hal'), (10, 22, 9, 'ida'), (11, 7, NULL, 'jim'), (12, 8, NULL, 'kim')",
        );
        let teams = texts(&target, "SELECT id || '/' || xmlid || '/' || name FROM team");
        let planned = project.run(["plan", "--json"]).expect(0).json();
        let report = project.copy();
        for done in [&planned, &report] {
            assert_eq!(sums(done, ["inserted", "updated", "skipped", "quarantined"]), [4, 0, 6, 0], "{case}: {done}");
        }
        assert_eq!(texts(&target, EMPLOYEES), texts(&source, EMPLOYEES), "{case}");
        assert_eq!(texts(&target, "SELECT id || '/' || xmlid || '/' || name FROM team"), teams, "{case}");
        assert_eq!(sums(&project.copy(), ["inserted", "updated", "skipped"]), [0, 0, 10], "P4 {case}");
        // The ids that nobody has any more are not known either.
        source.run("INSERT INTO team VALUES (9, 't10', 'ten'); INSERT INTO employee VALUES (13, 9, 9, 'lea')");
        assert_eq!(sums(&project.copy(), ["inserted", "updated", "skipped"]), [2, 0, 10], "{case}");
        assert_eq!(texts(&target, EMPLOYEES), texts(&source, EMPLOYEES), "{case}");
    }
}

#[test]
fn killed_runs_bring_every_row_once_under_one_new_id() {
    const TEAMS_COUNT: u64 = 40;
    const EMPLOYEES_COUNT: u64 = 300;
    let mut random = Random::seeded("new ids and kills");
    for (from, to) in PAIRS {
        let (project, source, target) =
            both(from, to, "mode = \"replace\"\nbatch_rows = 16\ndeletes = { mode = \"hard\", max = \"100%\" }\n");
        let mut sql = String::new();
        for id in 1..=TEAMS_COUNT {
            sql.push_str(&format!("INSERT INTO team VALUES ({id}, 't{id}', 'team {id}');"));
        }
        for id in 1..=EMPLOYEES_COUNT {
            let boss = if id < 3 { "NULL".to_owned() } else { (1 + random.below(id - 1)).to_string() };
            sql.push_str(&format!("INSERT INTO employee VALUES ({id}, {}, {boss}, 'e{id}');", 1 + random.below(TEAMS_COUNT)));
            sql.push_str(&format!("INSERT INTO badge VALUES ({id}, 'key', 'n{id}');"));
        }
        source.run(&sql);
        let own = own_rows(&target);
        for round in 0..4 {
            let mut running = project.start([]);
            running.wait_for_commits(1 + u32::try_from(random.below(30)).expect("a small number"));
            running.kill();
            source.run(&format!(
                "INSERT INTO employee VALUES ({0}, 1, 1, 'late{0}'); UPDATE employee SET boss = {0} WHERE id = {1};
                 DELETE FROM badge WHERE employee_id = {2}; UPDATE employee SET team_id = 2 WHERE id = {2};",
                1000 + round,
                3 + random.below(EMPLOYEES_COUNT - 3),
                1 + random.below(EMPLOYEES_COUNT),
            ));
        }
        project.copy();
        assert_arrived(&source, &target, &format!("{from:?} {to:?}"));
        assert_eq!(own_rows(&target), own, "{from:?} {to:?}");
        assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted", "pending"]), [0, 0, 0, 0], "P4: {from:?} {to:?}");
        assert_verified(&project, &format!("{from:?} {to:?}"));
    }
}

#[test]
fn a_row_whose_parent_has_no_new_id_is_refused_and_comes_in_with_it() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let source = Database::new(from, project.path(), "source");
        let target = Database::new(to, project.path(), "target");
        // The source checks nothing.
        source.run(&SOURCE.replace(" REFERENCES team (id)", "").replace(" REFERENCES employee (id)", ""));
        target_tables(&target);
        project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\norphans = \"allow\"\n{ENTITIES}"));
        source.run(
            "INSERT INTO team VALUES (1, 't1', 'one'); INSERT INTO employee VALUES (1, 1, NULL, 'ann'), (2, 3, NULL, 'bob'), (3, 1, 99, 'cid');
             INSERT INTO badge VALUES (1, 'key', 'a'), (2, 'key', 'b');",
        );
        for _ in 0..2 {
            let report = project.run(["run", "--json"]).expect(3).json();
            // Bob has no team, and so his badge nobody; cid waits for his boss.
            assert_eq!(sums(&report, ["quarantined", "pending"]), [2, 1], "{from:?} {to:?} {report}");
            assert_eq!(texts(&target, EMPLOYEES), ["ann/t1/-", "cid/t1/-"], "{from:?} {to:?}");
            assert_eq!(texts(&target, BADGES), ["ann/key/a"]);
        }
        source.run("INSERT INTO team VALUES (3, 't3', 'three'); INSERT INTO employee VALUES (99, 3, NULL, 'zoe')");
        let report = project.copy();
        assert_eq!(sums(&report, ["inserted", "updated", "quarantined", "pending"]), [4, 1, 0, 0], "{from:?} {to:?} {report}");
        for sql in [EMPLOYEES, BADGES] {
            assert_eq!(texts(&target, sql), texts(&source, sql), "{from:?} {to:?}");
        }
    }
}

#[test]
fn a_row_that_somebody_has_altered_or_removed_is_found_by_verify_and_repaired_under_its_own_id() {
    for (from, to) in PAIRS {
        let (project, source, target) = both(from, to, "mode = \"replace\"\n");
        source.run(
            "INSERT INTO team VALUES (1, 't1', 'one'), (2, 't2', 'two'); INSERT INTO employee VALUES (1, 1, NULL, 'ann'), (2, 1, 1, 'bob');
             INSERT INTO badge VALUES (2, 'key', 'b')",
        );
        project.copy();
        target.run("UPDATE employee SET boss = 2 WHERE name = 'bob'; UPDATE badge SET note = 'x' WHERE note = 'b'");
        let verified = project.run(["verify", "--json"]).expect(4).json();
        assert_eq!(sums(&verified, ["different", "missing"]), [2, 0], "{from:?} {to:?}");
        // Teams of others are still too many to it.
        assert_eq!(project.run(["verify", "--repair", "--json"]).code, Some(4));
        assert_arrived(&source, &target, &format!("{from:?} {to:?}"));
        assert_verified(&project, &format!("{from:?} {to:?}"));
    }
}

#[test]
fn what_the_target_cannot_give_is_refused_before_anything_is_written() {
    let project = Project::new();
    let source = Database::new(Engine::Sqlite, project.path(), "source");
    let target = Database::new(Engine::Postgres(Server::First), project.path(), "target");
    source.run("CREATE TABLE a (id integer PRIMARY KEY, code text NOT NULL UNIQUE); CREATE TABLE b (id integer PRIMARY KEY, a_id integer REFERENCES a (id))");
    target.run("CREATE TABLE a (id integer PRIMARY KEY, code text NOT NULL)");
    let by_id = "[[jobs.copy.entities]]\nsource = \"a\"\ngenerated = [\"id\"]\n";
    project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\n{by_id}"));
    project.run(["run"]).expect(1).says(&["neither numbered nor has it a default"]);
    let entities = "[[jobs.copy.entities]]\nsource = \"a\"\nkey = [\"code\"]\ngenerated = [\"id\"]\n";
    project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\n{entities}"));
    target.run("ALTER TABLE a ALTER id ADD GENERATED BY DEFAULT AS IDENTITY");
    project.run(["run"]).expect(1).says(&["no unique index of the target covers (code)"]);
}

/// Spells names in brackets as Chinook's authors do for an engine: `[track_id]` is `"TrackId"` for SQLite.
pub(super) fn spelled(sql: &str, pascal: bool) -> String {
    let mut out = String::new();
    for (place, piece) in sql.split(['[', ']']).enumerate() {
        if place % 2 == 0 {
            out.push_str(piece);
        } else if pascal {
            let words: String = piece.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
            out.push_str(&format!("\"{words}\""));
        } else {
            out.push_str(piece);
        }
    }
    out
}

pub(super) const CHINOOK: [(&str, &str); 4] = [
    (
        "tracks",
        "SELECT t.[name] || '/' || COALESCE(a.[title], '-') || '/' || COALESCE(r.[name], '-') || '/' || m.[name] || '/' || COALESCE(g.[name], '-') || '/' || t.[milliseconds] \
         FROM [track] t JOIN [media_type] m ON m.[media_type_id] = t.[media_type_id] LEFT JOIN [genre] g ON g.[genre_id] = t.[genre_id] \
         LEFT JOIN [album] a ON a.[album_id] = t.[album_id] LEFT JOIN [artist] r ON r.[artist_id] = a.[artist_id]",
    ),
    (
        "employees",
        "SELECT e.[email] || '/' || COALESCE(b.[email], '-') FROM [employee] e LEFT JOIN [employee] b ON b.[employee_id] = e.[reports_to]",
    ),
    (
        "lines",
        "SELECT c.[email] || '/' || s.[email] || '/' || t.[name] || '/' || t.[milliseconds] || '/' || l.[quantity] FROM [invoice_line] l \
         JOIN [invoice] i ON i.[invoice_id] = l.[invoice_id] JOIN [customer] c ON c.[customer_id] = i.[customer_id] \
         JOIN [employee] s ON s.[employee_id] = c.[support_rep_id] JOIN [track] t ON t.[track_id] = l.[track_id]",
    ),
    (
        "playlists",
        "SELECT p.[name] || '/' || t.[name] || '/' || t.[milliseconds] FROM [playlist_track] x JOIN [playlist] p ON p.[playlist_id] = x.[playlist_id] \
         JOIN [track] t ON t.[track_id] = x.[track_id]",
    ),
];

pub(super) const NUMBERED: [&str; 10] =
    ["artist", "album", "media_type", "genre", "track", "employee", "customer", "invoice", "invoice_line", "playlist"];

#[test]
fn chinook_goes_in_beside_itself_under_new_ids_in_every_direction() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, pascal) = match from {
            Engine::Postgres(server) => (Database::Postgres(Fixture::Chinook.postgres(server)), false),
            Engine::Sqlite => (Database::Sqlite(Fixture::Chinook.sqlite(project.path())), true),
        };
        let target = Database::new(to, project.path(), "target");
        // Once under its own ids, so that every one of them is taken.
        project.write_job(&source.url(), &target.url(), "mode = \"replace\"\nentities = \"*\"\n");
        project.copy();
        if let (false, Database::Postgres(target)) = (pascal, &target) {
            for table in NUMBERED {
                target.run(&format!("ALTER TABLE {table} ALTER {table}_id ADD GENERATED ALWAYS AS IDENTITY"));
            }
        }
        let mut entities = String::new();
        for table in NUMBERED {
            let (name, id) = (spelled(&format!("[{table}]"), pascal), spelled(&format!("[{table}_id]"), pascal));
            let (name, id) = (name.trim_matches('"'), id.trim_matches('"'));
            entities.push_str(&format!("[[jobs.again.entities]]\nsource = \"{name}\"\ngenerated = [\"{id}\"]\n"));
        }
        let details = spelled("[playlist_track]", pascal);
        entities.push_str(&format!("[[jobs.again.entities]]\nsource = \"{}\"\n", details.trim_matches('"')));
        project.write_job(
            &source.url(),
            &target.url(),
            &format!("mode = \"replace\"\nentities = \"*\"\n[jobs.again]\nshares_tables = true\nsource = \"a\"\ntarget = \"b\"\nmode = \"replace\"\n{entities}"),
        );
        let again = |arguments: &[&str]| project.run(arguments).expect(0).json();
        let report = again(&["run", "again", "--json"]);
        assert_eq!(sums(&report, ["quarantined", "pending", "updated"]), [0, 0, 0], "{from:?} {to:?} {report}");
        for (what, sql) in CHINOOK {
            let sql = spelled(sql, pascal);
            let mut twice = texts(&source, &sql);
            twice.extend(twice.clone());
            twice.sort();
            assert!(texts(&target, &sql) == twice, "{from:?} {to:?}: {what} differ");
        }
        let second = again(&["run", "again", "--json"]);
        assert_eq!(sums(&second, ["inserted", "updated", "deleted"]), [0, 0, 0], "P4: {from:?} {to:?} {second}");
        assert_eq!(again(&["verify", "again", "--json"])["equal"], true, "{from:?} {to:?}");
    }
}

/// Into tables whose ids a default makes, and whose labels are of this type.
fn into_made_ids(from: Engine, label: &str) -> (Project, Database, Database) {
    let project = Project::new();
    let source = Database::new(from, project.path(), "source");
    let target = Database::new(Engine::Postgres(Server::Second), project.path(), "target");
    source.run(SOURCE);
    source.run(
        "INSERT INTO team VALUES (1, 't1', 'one'), (2, 't2', 'two');
         INSERT INTO employee VALUES (1, 1, NULL, 'ann'), (2, 1, 3, 'bob'), (3, 2, 1, 'cid');
         INSERT INTO badge VALUES (1, 'key', 'a'), (3, 'key', 'c');",
    );
    target.run(&format!(
        "CREATE TABLE team (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, xmlid text NOT NULL UNIQUE, name text);
         CREATE TABLE employee (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, team_id uuid NOT NULL REFERENCES team (id),
            boss uuid REFERENCES employee (id), name text);
         CREATE TABLE badge (employee_id uuid NOT NULL REFERENCES employee (id), label {label} NOT NULL, note text,
            PRIMARY KEY (employee_id, label));
         INSERT INTO team (xmlid, name) VALUES ('own1', 'ours'), ('t2', 'there already');"
    ));
    (project, source, target)
}

#[test]
fn ids_that_a_default_makes_are_of_another_type_and_children_follow() {
    for from in [Engine::Postgres(Server::First), Engine::Sqlite] {
        let (project, source, target) = into_made_ids(from, "text");
        project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\ndeletes = \"hard\"\n{ENTITIES}"));
        project.copy();
        assert_arrived(&source, &target, &format!("{from:?}"));
        assert_verified(&project, &format!("{from:?}"));
        let ids = "SELECT e.id::text FROM employee e";
        let before = texts(&target, ids);
        // Each keeps its id in every later run, whatever else changes.
        source.run(
            "UPDATE employee SET name = 'bob!', boss = 1 WHERE id = 2; INSERT INTO employee VALUES (4, 2, 2, 'dan');
             DELETE FROM badge WHERE employee_id = 3; INSERT INTO badge VALUES (4, 'key', 'd');",
        );
        let report = project.run(["run", "--json", "--max-deletes", "100%"]).expect(0).json();
        assert_eq!(sums(&report, ["inserted", "updated", "deleted"]), [2, 1, 1], "{report}");
        assert_arrived(&source, &target, &format!("{from:?}"));
        let after = texts(&target, ids);
        assert!(after.len() == 4 && before.iter().all(|id| after.contains(id)), "{before:?} {after:?}");
        assert_eq!(sums(&project.copy(), ["unchanged"]), [8], "P4");
    }
}

#[test]
fn rows_under_ids_of_another_type_go_whatever_spellings_their_keys_may_have() {
    for from in [Engine::Postgres(Server::First), Engine::Sqlite] {
        // In append any key may have been left to the target under another spelling, else one that two types may spell.
        for (mode, label) in [("append", "text"), ("replace", "varchar(20)"), ("update", "varchar(20)")] {
            let case = format!("{from:?} {mode} {label}");
            let (project, source, target) = into_made_ids(from, label);
            project.write_job(&source.url(), &target.url(), &format!("mode = \"{mode}\"\ndeletes = \"hard\"\n{ENTITIES}"));
            project.copy();
            source.run("DELETE FROM badge WHERE employee_id = 3; DELETE FROM employee WHERE id = 2");
            let planned = project.run(["plan", "--json", "--max-deletes", "100%"]).expect(0).json();
            let report = project.run(["run", "--json", "--max-deletes", "100%"]).expect(0).json();
            for done in [&planned, &report] {
                assert_eq!(sums(done, ["inserted", "updated", "deleted"]), [0, 0, 2], "{case}: {done}");
            }
            assert_eq!(texts(&target, "SELECT name FROM employee"), ["ann", "cid"], "{case}");
            assert_eq!(texts(&target, BADGES), texts(&source, BADGES), "{case}");
            assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted"]), [0, 0, 0], "P4 {case}");
        }
    }
}

#[test]
fn two_spellings_of_one_key_under_a_new_id_fail_instead_of_overwriting_each_other() {
    for from in [Engine::Postgres(Server::First), Engine::Sqlite] {
        let (project, source, target) = into_made_ids(from, "uuid");
        source.run(
            "DELETE FROM badge; INSERT INTO badge VALUES (1, 'abcdef01-0000-4000-8000-000000000000', 'a'),
                (3, 'abcdef01-0000-4000-8000-000000000000', 'c')",
        );
        project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\n{ENTITIES}"));
        project.copy();
        source.run("INSERT INTO badge VALUES (3, 'ABCDEF01-0000-4000-8000-000000000000', 'C')");
        for _ in 0..2 {
            project.run(["run"]).expect(1).says(&["rows that the source holds apart are one row of the target", "entity badge"]);
        }
        source.run("DELETE FROM badge WHERE note = 'C'");
        project.copy();
        assert_eq!(texts(&target, "SELECT note FROM badge"), ["a", "c"], "{from:?}");
    }
}

#[test]
fn a_plan_names_rows_that_would_get_a_new_id_by_their_own() {
    for (from, to) in PAIRS {
        let (project, source, _target) = both(from, to, "mode = \"replace\"\n");
        source.run(
            "INSERT INTO team VALUES (1, 't1', 'one');
             INSERT INTO employee VALUES (1, 1, NULL, 'ann'), (20, 1, 1, 'bob');
             INSERT INTO badge VALUES (1, 'key', 'a');",
        );
        project.copy();
        source.run(
            "INSERT INTO team VALUES (17, 't17', 'new');
             INSERT INTO employee VALUES (18, 17, 1, 'eve');
             UPDATE employee SET team_id = 17, boss = 18 WHERE id = 20;
             INSERT INTO badge VALUES (18, 'car', 'b');",
        );
        let plan = project.run(["plan", "--json", "--show-values"]).expect(0).json();
        let samples = |name: &str, change: &str| {
            let entities = plan["changes"].as_array().expect("entities");
            let entity = entities.iter().find(|entity| entity["name"] == name).expect("the entity");
            let samples = entity["samples"].as_array().cloned().unwrap_or_default();
            let of_kind: Vec<Value> = samples.into_iter().filter(|sample| sample["change"] == change).collect();
            assert_eq!(of_kind.len(), 1, "{from:?} {to:?} {name} {change}: {plan}");
            of_kind[0].clone()
        };
        assert_eq!(samples("team", "insert")["key"][0], "t17", "{from:?} {to:?}");
        assert_eq!(samples("employee", "insert")["key"][0], "new id of 18", "{from:?} {to:?}");
        assert_eq!(samples("badge", "insert")["key"].to_string(), r#"["new id of 18","car"]"#, "{from:?} {to:?}");
        let moved = samples("employee", "update");
        let after = |name: &str| {
            let cells = moved["columns"].as_array().expect("columns");
            cells.iter().find(|cell| cell["column"] == name).expect("the column")["after"].clone()
        };
        assert_eq!((after("team_id"), after("boss")), ("new id of 17".into(), "new id of 18".into()), "{from:?} {to:?}");
        let told = project.run(["plan"]).expect(0).output();
        for expected in ["insert (new id of 18)", "insert (new id of 18, car)"] {
            assert!(told.contains(expected), "{from:?} {to:?}: {told}");
        }
    }
}
