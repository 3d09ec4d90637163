//! Ids that the target gives in tables that the job itself creates: they number their rows from the first one on, and whatever refers to
//! them follows.

use super::remapped_ids::{
    BADGES, CHINOOK, EMPLOYEES, ENTITIES, NUMBERED, SOURCE, TEAMS, assert_arrived, assert_verified, spelled, sums, texts,
};
use migrate_tests::{Database, Engine, Fixture, PAIRS, Project, Random, Server, crosswise};

fn both(from: Engine, to: Engine, tables: &str, settings: &str) -> (Project, Database, Database) {
    let project = Project::new();
    let source = Database::new(from, project.path(), "source");
    let target = Database::new(to, project.path(), "target");
    source.run(tables);
    project.write_job(&source.url(), &target.url(), settings);
    (project, source, target)
}

/// How many references the target's tables have.
fn references(target: &Database) -> u64 {
    match target {
        Database::Postgres(target) => target.count("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated"),
        Database::Sqlite(target) => {
            target.count("SELECT count(*) FROM sqlite_schema t, pragma_foreign_key_list(t.name) WHERE t.type = 'table'")
        }
    }
}

#[test]
fn tables_that_the_job_creates_number_their_rows_and_children_follow_in_every_later_run_and_mode() {
    for (from, to) in PAIRS {
        for mode in ["replace", "update"] {
            let case = format!("{from:?} {to:?} {mode}");
            let settings = format!("mode = \"{mode}\"\ndeletes = {{ mode = \"hard\", max = \"100%\" }}\n{ENTITIES}");
            let (project, source, target) = both(from, to, SOURCE, &settings);
            source.run(
                "INSERT INTO team VALUES (71, 't1', 'one'), (72, 't2', 'two'), (73, 't3', 'three');
                 INSERT INTO employee VALUES (81, 71, NULL, 'ann'), (82, 71, 85, 'bob'), (83, 72, 82, 'cid'), (85, 73, 81, 'eve');
                 INSERT INTO badge VALUES (81, 'key', 'a'), (81, 'car', 'b'), (83, 'key', 'c');",
            );
            let planned = project.run(["plan", "--json"]).expect(0).json();
            let hash = planned["hash"].as_str().expect("a hash");
            let report = project.run(["run", "--json", "--plan", hash]).expect(0).json();
            for done in [&planned, &report] {
                assert_eq!(sums(done, ["inserted", "updated", "quarantined"]), [10, 0, 0], "{case}: {done}");
            }
            assert_arrived(&source, &target, &case);
            assert_eq!((target.matching("team", "id < 10"), target.matching("employee", "id < 10")), (3, 4), "{case}");
            assert_eq!(references(&target), 3, "{case}");
            assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted", "unchanged"]), [0, 0, 0, 10], "P4 {case}");
            assert_verified(&project, &case);

            // WHEN others write to the tables as well, and the source goes on
            target.run(
                "INSERT INTO team (xmlid, name) VALUES ('own1', 'ours');
                 INSERT INTO employee (team_id, name) SELECT t.id, 'own1' FROM team t WHERE t.xmlid = 'own1'",
            );
            source.run(
                "INSERT INTO team VALUES (4, 't9', 'nine'); INSERT INTO employee VALUES (5, 4, 85, 'dan'), (6, 71, 5, 'fay');
                 UPDATE employee SET boss = 6, team_id = 4 WHERE id = 82; INSERT INTO badge VALUES (5, 'key', 'd');
                 UPDATE badge SET note = 'aa' WHERE employee_id = 81 AND label = 'key';
                 DELETE FROM badge WHERE employee_id = 83; DELETE FROM employee WHERE id = 83; DELETE FROM team WHERE id = 72;",
            );
            let planned = project.run(["plan", "--json"]).expect(0).json();
            let report = project.copy();
            for done in [&planned, &report] {
                assert_eq!(sums(done, ["inserted", "updated", "deleted"]), [4, 2, 3], "{case}: {done}");
            }
            assert_arrived(&source, &target, &case);
            let own = "SELECT e.name || '/' || t.xmlid FROM employee e JOIN team t ON t.id = e.team_id WHERE e.name = 'own1'";
            assert_eq!(texts(&target, own), ["own1/own1"], "{case}");
            assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted", "pending"]), [0, 0, 0, 0], "P4 {case}");
            assert_verified(&project, &case);
        }
    }
}

#[test]
fn killed_while_tables_are_created_and_filled_every_row_comes_once_under_one_new_id() {
    const COUNT: u64 = 300;
    let mut random = Random::seeded("created ids and kills");
    for (from, to) in PAIRS {
        let settings =
            format!("mode = \"replace\"\nbatch_rows = 16\ndeletes = {{ mode = \"hard\", max = \"100%\" }}\n{ENTITIES}");
        let (project, source, target) = both(from, to, SOURCE, &settings);
        let mut sql = String::new();
        for id in 1..=40 {
            sql.push_str(&format!("INSERT INTO team VALUES ({}, 't{id}', 'team {id}');", 5000 - id));
        }
        for id in 1..=COUNT {
            let boss = if id < 3 { "NULL".to_owned() } else { (6001 + random.below(id - 1)).to_string() };
            let team = 4999 - random.below(40);
            sql.push_str(&format!("INSERT INTO employee VALUES ({}, {team}, {boss}, 'e{id}');", 6000 + id));
            sql.push_str(&format!("INSERT INTO badge VALUES ({}, 'key', 'n{id}');", 6000 + id));
        }
        source.run(&sql);
        for round in 0..4 {
            let mut running = project.start([]);
            running.wait_for_commits(1 + u32::try_from(random.below(25)).expect("a small number"));
            running.kill();
            source.run(&format!(
                "INSERT INTO employee VALUES ({0}, 4999, 6001, 'late{0}'); UPDATE employee SET boss = {0} WHERE id = {1};
                 DELETE FROM badge WHERE employee_id = {2}; UPDATE employee SET team_id = 4998 WHERE id = {2};",
                9000 + round,
                6003 + random.below(COUNT - 3),
                6001 + random.below(COUNT),
            ));
        }
        project.copy();
        let case = format!("{from:?} {to:?}");
        assert_arrived(&source, &target, &case);
        assert_eq!(target.matching("employee", "id > 4000") + target.matching("team", "id > 4000"), 0, "{case}");
        assert_eq!(references(&target), 3, "{case}");
        assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted", "pending"]), [0, 0, 0, 0], "P4: {case}");
        assert_verified(&project, &case);
    }
}

#[test]
fn a_row_whose_parent_is_refused_beside_it_waits_also_where_no_constraint_says_so() {
    let created = (Engine::Sqlite, Engine::Postgres(Server::First), true);
    for (from, to, creates) in PAIRS.map(|(from, to)| (from, to, false)).into_iter().chain([created]) {
        let case = format!("{from:?} {to:?} {creates}");
        let tree = "CREATE TABLE tree (id integer PRIMARY KEY, parent_id integer REFERENCES tree (id), name text)";
        let settings = "mode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"tree\"\ngenerated = [\"id\"]\n";
        let (project, source, target) = both(from, to, tree, settings);
        if !creates {
            let serial = if to == Engine::Sqlite { "INTEGER PRIMARY KEY" } else { "serial PRIMARY KEY" };
            target.run(&format!("CREATE TABLE tree (id {serial}, parent_id integer, name text NOT NULL)"));
        }
        // One that is no text, or none where there must be one.
        let wrong = if creates { "CAST(x'ff' AS TEXT)" } else { "NULL" };
        source.run(&format!("INSERT INTO tree VALUES (71, NULL, {wrong}), (72, 71, 'b'), (73, 72, 'c'), (74, 74, 'd')"));
        for inserted in [3, 0] {
            let report = project.run(["run", "--json"]).expect(3).json();
            assert_eq!(sums(&report, ["inserted", "quarantined", "pending"]), [inserted, 1, 1], "{case}: {report}");
            assert_eq!(target.matching("tree", "name = 'b' AND parent_id IS NULL"), 1, "{case}");
            assert_eq!(target.matching("tree", "parent_id NOT IN (SELECT id FROM tree)"), 0, "{case}");
        }
        source.run("UPDATE tree SET name = 'a' WHERE id = 71");
        project.copy();
        let edges = "SELECT c.name || p.name FROM tree c JOIN tree p ON p.id = c.parent_id";
        assert_eq!(texts(&target, edges), ["ba", "cb", "dd"], "{case}");
        assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted", "pending"]), [0, 0, 0, 0], "P4 {case}");
    }
}

#[test]
fn a_row_whose_parent_the_target_refuses_beside_it_waits_also_where_no_constraint_says_so() {
    for ((from, to), (null, inserted, quarantined, pending)) in crosswise([("", 3, 1, 1), ("NOT NULL", 1, 3, 0)]) {
        let case = format!("{from:?} {to:?} {null}");
        let tree =
            format!("CREATE TABLE tree (id integer PRIMARY KEY, parent_id integer {null} REFERENCES tree (id), qty integer)");
        let settings = "mode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"tree\"\ngenerated = [\"id\"]\n";
        let (project, source, target) = both(from, to, &tree, settings);
        let serial = if to == Engine::Sqlite { "INTEGER PRIMARY KEY" } else { "serial PRIMARY KEY" };
        target.run(&format!("CREATE TABLE tree (id {serial}, parent_id integer {null}, qty integer CHECK (qty > 0))"));
        source.run("INSERT INTO tree VALUES (71, 71, -1), (72, 71, 5), (73, 72, 6), (74, 74, 7)");
        for inserted in [inserted, 0, 0] {
            let report = project.run(["run", "--json"]).expect(3).json();
            let counters = sums(&report, ["inserted", "updated", "quarantined", "pending"]);
            assert_eq!(counters, [inserted, 0, quarantined, pending], "{case}: {report}");
            assert_eq!(target.matching("tree", "parent_id NOT IN (SELECT id FROM tree)"), 0, "{case}");
        }
        source.run("UPDATE tree SET qty = 1 WHERE id = 71");
        project.copy();
        let edges = "SELECT CAST(c.qty AS text) || CAST(p.qty AS text) FROM tree c JOIN tree p ON p.id = c.parent_id";
        assert_eq!(texts(&target, edges), ["11", "51", "65", "77"], "{case}");
        assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted", "pending"]), [0, 0, 0, 0], "P4 {case}");
    }
}

#[test]
fn chinook_is_created_under_new_ids_in_every_direction() {
    for (from, to) in PAIRS {
        let project = Project::new();
        let (source, pascal) = match from {
            Engine::Postgres(server) => (Database::Postgres(Fixture::Chinook.postgres(server)), false),
            Engine::Sqlite => (Database::Sqlite(Fixture::Chinook.sqlite(project.path())), true),
        };
        let target = Database::new(to, project.path(), "target");
        let own = |name: &str| spelled(name, pascal).trim_matches('"').to_owned();
        let mut entities = String::new();
        for table in NUMBERED {
            let (name, id) = (own(&format!("[{table}]")), own(&format!("[{table}_id]")));
            entities.push_str(&format!("[[jobs.copy.entities]]\nsource = \"{name}\"\ngenerated = [\"{id}\"]\n"));
        }
        entities.push_str(&format!("[[jobs.copy.entities]]\nsource = \"{}\"\n", own("[playlist_track]")));
        project.write_job(&source.url(), &target.url(), &format!("mode = \"replace\"\n{entities}"));
        let report = project.copy();
        assert_eq!(sums(&report, ["quarantined", "pending", "updated"]), [0, 0, 0], "{from:?} {to:?} {report}");
        for (what, sql) in CHINOOK {
            let sql = spelled(sql, pascal);
            assert!(texts(&target, &sql) == texts(&source, &sql), "{from:?} {to:?}: {what} differ");
        }
        assert_eq!(references(&target), 11, "{from:?} {to:?}");
        let second = project.copy();
        assert_eq!(sums(&second, ["inserted", "updated", "deleted"]), [0, 0, 0], "P4: {from:?} {to:?} {second}");
        assert_eq!(project.run(["verify", "--json"]).expect(0).json()["equal"], true, "{from:?} {to:?}");
    }
}

#[test]
fn uuids_are_given_by_a_created_table_of_postgres_where_the_source_has_uuids() {
    let tables = "
        CREATE TABLE team (id uuid PRIMARY KEY, xmlid text NOT NULL UNIQUE, name text);
        CREATE TABLE employee (id uuid PRIMARY KEY, team_id uuid NOT NULL REFERENCES team (id), boss uuid REFERENCES employee (id), name text);
        CREATE TABLE badge (employee_id uuid NOT NULL REFERENCES employee (id), label text NOT NULL, note text, PRIMARY KEY (employee_id, label));";
    let id = |n: u8| format!("'00000000-0000-4000-8000-0000000000{n:02}'");
    for from in [Engine::Postgres(Server::First), Engine::Sqlite] {
        let settings = format!("mode = \"replace\"\n{ENTITIES}");
        let (project, source, target) = both(from, Engine::Postgres(Server::Second), tables, &settings);
        source.run(&format!(
            "INSERT INTO team VALUES ({0}, 't1', 'one'); INSERT INTO employee VALUES ({1}, {0}, NULL, 'ann'), ({2}, {0}, {1}, 'bob');
             INSERT INTO badge VALUES ({2}, 'key', 'b')",
            id(1),
            id(2),
            id(3)
        ));
        project.copy();
        for (sql, expected) in [(TEAMS, "t1/one"), (EMPLOYEES, "ann/t1/-"), (EMPLOYEES, "bob/t1/ann"), (BADGES, "bob/key/b")] {
            assert!(texts(&target, sql).iter().any(|text| text == expected), "{from:?}: {expected}");
        }
        assert_eq!(target.matching("employee", "id::text LIKE '00000000-%'"), 0, "{from:?}");
        target.run("INSERT INTO team (xmlid, name) VALUES ('own', 'ours')");
        assert_eq!(sums(&project.copy(), ["inserted", "updated", "unchanged"]), [0, 0, 4], "P4 {from:?}");
    }
}

#[test]
fn what_a_created_table_cannot_give_is_refused_before_anything_is_made() {
    for to in [Engine::Postgres(Server::Second), Engine::Sqlite] {
        let tables = "CREATE TABLE a (id varchar(10) PRIMARY KEY, code text NOT NULL UNIQUE, loose text NOT NULL);
                      CREATE TABLE b (id integer PRIMARY KEY, a_id varchar(10) REFERENCES a (id))";
        let (project, source, target) = both(Engine::Postgres(Server::First), to, tables, "entities = \"*\"\n");
        let refused = |entity: &str, says: &[&str]| {
            let job = format!("mode = \"replace\"\n[[jobs.copy.entities]]\n{entity}");
            project.write_job(&source.url(), &target.url(), &job);
            project.run(["run"]).expect(1).says(says);
        };
        refused(
            "source = \"a\"\nkey = [\"code\"]\ngenerated = [\"id\"]\n",
            &["cannot give the values of id", "create the table first"],
        );
        refused("source = \"b\"\nkey = [\"a_id\"]\ngenerated = [\"id\"]\n", &["no unique index of the source covers (a_id)"]);
        assert_eq!(target.count("a") + target.count("b"), 0, "{to:?}");
        if let Database::Postgres(target) = &target {
            target.run("CREATE TABLE a (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, code text NOT NULL UNIQUE, loose text)");
            let both = "source = \"a\"\nkey = [\"code\"]\ngenerated = [\"id\"]\n[[jobs.copy.entities]]\nsource = \"d\"\n";
            source.run("CREATE TABLE d (id integer PRIMARY KEY, a_id integer)");
            refused(
                &format!("{both}references = [{{ columns = [\"a_id\"], entity = \"a\", key = [\"id\"] }}]\n"),
                &["a_id", "ids of a, of the type uuid", "create the table first"],
            );
        }
    }
}

#[test]
fn references_in_a_cycle_that_is_never_null_get_new_ids_in_a_created_table() {
    for (from, to) in PAIRS {
        let tables =
            "CREATE TABLE c (id integer PRIMARY KEY, c_id integer NOT NULL REFERENCES c (id), d integer NOT NULL UNIQUE);
                      INSERT INTO c VALUES (17, 17, 1), (18, 40, 2), (40, 18, 3), (41, 17, 4)";
        let (project, source, target) = both(from, to, tables, "mode = \"replace\"\nentities = \"*\"\n");
        project.write_job(
            &source.url(),
            &target.url(),
            "mode = \"replace\"\n[[jobs.copy.entities]]\nsource = \"c\"\nkey = [\"d\"]\ngenerated = [\"id\"]\n",
        );
        let plan = project.run(["plan", "--json"]).expect(0).json();
        let counts = ["inserted", "quarantined"].map(|count| plan["changes"][0][count].as_u64());
        assert_eq!(counts, [Some(4), Some(0)], "{from:?} → {to:?}: {plan}");
        let _ = project.run(["run", "--plan", plan["hash"].as_str().expect("a hash")]).expect(0);
        let parents = "SELECT c.d || ' to ' || parent.d FROM c JOIN c AS parent ON parent.id = c.c_id";
        assert_eq!(texts(&target, parents), texts(&source, parents), "{from:?} → {to:?}");
        assert_eq!(texts(&target, parents).len(), 4);
        assert!(texts(&target, "SELECT d || '' FROM c WHERE id > 16").is_empty(), "{from:?} → {to:?}: ids begin anew");
        source.run("INSERT INTO c VALUES (50, 50, 5)");
        let again = project.run(["run", "--json"]).expect(0).json();
        assert_eq!(again["entities"][0]["inserted"], 1, "{from:?} → {to:?}");
        assert_eq!(texts(&target, parents), texts(&source, parents), "{from:?} → {to:?}");
    }
}
