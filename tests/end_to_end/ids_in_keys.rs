//! Rows whose keys hold ids that the target gives: nothing but the key map says which they are, and nothing of the target checks what they
//! refer to.

use crate::remapped_ids::{sums, texts};
use migrate_tests::{Database, Engine, PAIRS, Project};

/// Parents are known by their ids or their xmlids, children by their parent and label. The target numbers the parents.
fn sides((from, to): (Engine, Engine), parent: &str, child: &str) -> (Project, Database, Database) {
    let project = Project::new();
    let source = Database::new(from, project.path(), "source");
    let target = Database::new(to, project.path(), "target");
    let tables = |id: &str| {
        format!(
            "CREATE TABLE {parent} ({id}, xmlid text NOT NULL UNIQUE);
             CREATE TABLE {child} (parent integer NOT NULL, label text NOT NULL, PRIMARY KEY (parent, label));"
        )
    };
    source.run(&tables("id integer PRIMARY KEY"));
    target.run(&tables(match target {
        Database::Postgres(_) => "id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        Database::Sqlite(_) => "id INTEGER PRIMARY KEY AUTOINCREMENT",
    }));
    (project, source, target)
}

#[test]
fn they_go_with_the_next_whole_run_where_their_parent_is_gone_in_a_narrower_one() {
    for (from, to) in PAIRS {
        // Employees are known by the key map alone, teams by their xmlid.
        for (parent, key, child) in [("employee", "", "badge"), ("team", "key = [\"xmlid\"]", "colour")] {
            // Entities are named one by one or by their stage.
            let narrow = if key.is_empty() { ["--entity", parent] } else { ["--stage", "first"] };
            let case = format!("{from:?} {to:?} {parent} {narrow:?}");
            let (project, source, target) = sides((from, to), parent, child);
            target.run(&format!(
                "INSERT INTO {parent} (xmlid) VALUES ('own1'), ('own2'); INSERT INTO {child} VALUES (1, 'ours'), (2, 'ours')"
            ));
            source.run(&format!(
                "INSERT INTO {parent} VALUES (1, 'a'), (2, 'b'); INSERT INTO {child} VALUES (1, 'x'), (1, 'y'), (2, 'x')"
            ));
            let job = format!(
                    "mode = \"replace\"
                     deletes = {{ mode = \"hard\", max = \"100%\" }}
                     stages = [{{ name = \"first\", entities = [\"{parent}\"] }}, {{ name = \"second\", entities = [\"{child}\"] }}]
                     [[jobs.copy.entities]]
                     source = \"{parent}\"
                     generated = [\"id\"]
                     {key}
                     [[jobs.copy.entities]]
                     source = \"{child}\"
                     references = [{{ columns = [\"parent\"], entity = \"{parent}\", key = [\"id\"] }}]\n"
                );
            project.write_job(&source.url(), &target.url(), &job);
            assert_eq!(sums(&project.copy(), ["inserted", "quarantined"]), [5, 0], "{case}");

            source.run(&format!("DELETE FROM {child} WHERE parent = 1; DELETE FROM {parent} WHERE id = 1"));
            // What its children are is known by its id alone: it stays while they do, as where the target checks their reference.
            let plan = project.run(["plan", "--json", narrow[0], narrow[1]]).expect(0).json();
            assert_eq!(sums(&plan, ["deleted", "conflicts"]), [0, 1], "{case}: {plan}");
            let report = project.run(["run", "--json", narrow[0], narrow[1]]).expect(3).json();
            assert_eq!(sums(&report, ["deleted", "conflicts"]), [0, 1], "{case}: {report}");

            let plan = project.run(["plan", "--json"]).expect(0).json();
            assert_eq!(sums(&plan, ["deleted", "conflicts"]), [3, 0], "{case}: {plan}");
            let report = project.copy();
            assert_eq!(sums(&report, ["deleted", "conflicts"]), [3, 0], "{case}: {report}");
            assert_eq!((target.count(parent), target.count(child)), (3, 3), "{case}");
            assert_eq!(target.matching(child, "label = 'x'"), 1, "{case}");

            // One that nothing is known by goes at once.
            source.run(&format!("DELETE FROM {child}; INSERT INTO {parent} VALUES (3, 'c')"));
            assert_eq!(sums(&project.copy(), ["inserted", "deleted"]), [1, 1], "{case}");
            source.run(&format!("DELETE FROM {parent} WHERE id = 2"));
            let report = project.run(["run", "--json", narrow[0], narrow[1]]).expect(0).json();
            assert_eq!(sums(&report, ["deleted", "conflicts"]), [1, 0], "{case}: {report}");
            assert_eq!((target.count(parent), target.count(child)), (3, 2), "{case}: those of others, and one");
        }
    }
}

#[test]
fn they_are_what_they_were_where_the_id_is_another_rows_at_the_source() {
    for (from, to) in PAIRS {
        let case = format!("{from:?} {to:?}");
        let (project, source, target) = sides((from, to), "team", "colour");
        target.run("INSERT INTO team (xmlid) VALUES ('own')");
        source.run(
            "INSERT INTO team VALUES (7, 't7'), (8, 't8'), (9, 't9');
             INSERT INTO colour VALUES (7, 'x'), (7, 'z'), (8, 'x'), (9, 'x'), (9, 'y')",
        );
        let job = "mode = \"replace\"
             deletes = { mode = \"hard\", max = \"100%\" }
             [[jobs.copy.entities]]
             source = \"team\"
             key = [\"xmlid\"]
             generated = [\"id\"]
             [[jobs.copy.entities]]
             source = \"colour\"
             references = [{ columns = [\"parent\"], entity = \"team\", key = [\"id\"] }]\n";
        project.write_job(&source.url(), &target.url(), job);
        let colours = "SELECT t.xmlid || c.label FROM colour c JOIN team t ON t.id = c.parent";
        assert_eq!(sums(&project.copy(), ["inserted"]), [8], "{case}");
        // Another one has what would be t7's colour, were it t8's.
        target.run("INSERT INTO colour SELECT t.id, 'z' FROM team t WHERE t.xmlid = 't8'");
        let change = |sql: &str, deleted: u64, after: &[&str]| {
            source.run(sql);
            let plan = project.run(["plan", "--json"]).expect(0).json();
            let report = project.copy();
            assert_eq!([&plan, &report].map(|done| sums(done, ["deleted"])), [[deleted]; 2], "{case}: {report}");
            assert_eq!(texts(&target, colours), after, "{case}");
            assert_eq!(target.count("colour"), after.len() as u64, "{case}");
            assert_eq!(sums(&project.copy(), ["inserted", "updated", "deleted"]), [0, 0, 0], "P4 {case}");
        };
        // One has another id, two exchange theirs, and one that is gone leaves its id to a new one.
        let renumbered = "UPDATE team SET id = 77 WHERE xmlid = 't9'; UPDATE colour SET parent = 77 WHERE parent = 9;
                          DELETE FROM colour WHERE parent = 77 AND label = 'y'";
        change(renumbered, 1, &["t7x", "t7z", "t8x", "t8z", "t9x"]);
        let exchanged =
            "UPDATE team SET id = 70 WHERE id = 7; UPDATE team SET id = 7 WHERE id = 8; UPDATE team SET id = 8 WHERE id = 70;
                         DELETE FROM colour WHERE label = 'z'";
        change(exchanged, 1, &["t7x", "t8x", "t8z", "t9x"]);
        let reused =
            "DELETE FROM team WHERE xmlid = 't9'; INSERT INTO team VALUES (77, 't6'); INSERT INTO colour VALUES (77, 'w')";
        source.run(reused);
        target.run(
            "CREATE TABLE holder (parent integer, label text, FOREIGN KEY (parent, label) REFERENCES colour (parent, label));
             INSERT INTO holder SELECT id, 'x' FROM team WHERE xmlid = 't9'",
        );
        let plan = project.run(["plan", "--json"]).expect(0).json();
        let report = project.run(["run", "--json"]).expect(3).json();
        assert_eq!([&plan, &report].map(|done| sums(done, ["deleted", "conflicts"])), [[0, 2]; 2], "{case}: {report}");
        assert_eq!(texts(&target, colours), ["t6w", "t6x", "t7x", "t8x", "t8z", "t9x"], "{case}");
        let verified = project.run(["verify", "--json"]).expect(4).json();
        assert_eq!(sums(&verified, ["missing", "different"]), [0, 0], "{case}: {verified}");
        target.run("DROP TABLE holder");
        change("UPDATE team SET id = id", 2, &["t6w", "t6x", "t7x", "t8x", "t8z"]);
    }
}
