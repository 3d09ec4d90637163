//! Encrypted connections, and servers that cannot prove who they are.

use migrate_tests::{OwnServer, Postgres, Project, Sqlite};

#[test]
fn rows_travel_encrypted_and_a_server_that_cannot_prove_itself_gets_none() {
    let project = Project::new();
    let (authority, stranger) = (project.path().join("authority.pem"), project.path().join("stranger.pem"));
    let server = OwnServer::encrypted(&authority);
    let _other = OwnServer::encrypted(&stranger);
    let (source, target) = (Postgres::on(&server), Postgres::on(&server));
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 5000) i",
    );
    let url = |database: &Postgres, mode: &str, proof: &str| {
        let proof = if proof.is_empty() { String::new() } else { format!("&sslrootcert={proof}") };
        format!("{}?sslmode={mode}{proof}", database.url_as("postgres", Some("hunter2")))
    };
    let (known, unknown) = (authority.to_string_lossy(), stranger.to_string_lossy());

    // WHEN the server does not take unencrypted connections, or is not who it should be
    for (mode, proof, code, names) in [
        ("disable", "", 1, &["no encryption"][..]),
        ("verify-full", &unknown, 1, &["certificate"]),
        ("verify-ca", &unknown, 1, &["certificate"]),
        ("verify-full", "nowhere.pem", 2, &["sslrootcert", "nowhere.pem"]),
    ] {
        project.write_job(&source.url(), &url(&target, mode, proof), "");
        let run = project.run(["run"]).expect(code);
        run.says(names);
        assert!(!run.output().contains("hunter2"), "P9: {}", run.output());
        assert_eq!(target.count("SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = 'migrate'"), 0, "P11");
    }

    // WHEN it is
    project.write_job(&url(&source, "verify-full", &known), &url(&target, "require", ""), "");
    assert_eq!(project.copy()["entities"][0]["inserted"], 5000);
    assert_eq!(target.count("SELECT sum(length(name)) FROM t"), source.count("SELECT sum(length(name)) FROM t"));
    let file = Sqlite::new(project.path().join("copy.db"));
    let second = Project::new();
    second.write_job(&url(&target, "verify-ca", &known), &file.url(), "");
    assert_eq!(second.copy()["entities"][0]["inserted"], 5000);
}
