use super::*;
use crate::filter::Parameter;
use crate::job::{Entities, Mode, QuarantineLimit};

fn parse(text: &str) -> Result<JobFile> {
    JobFile::parse(text, Path::new("/jobs/migrate.toml"))
}

const EXAMPLE: &str = r#"
[environments.legacy]
url = "sqlite:chinook.sqlite"
[environments.warehouse]
url = "${WAREHOUSE_URL}"
[jobs.copy]
source   = "legacy"
target   = "warehouse"
mode     = "append"
max_quarantined = "1%"
[[jobs.copy.entities]]
name    = "albums"
source  = "Album"
target  = "album"
key     = ["AlbumId"]
columns = { rename = { Title = "title" }, exclude = ["x"], set = { origin = "legacy" } }
where   = "ArtistId < :max_artist"
[jobs.copy.params]
max_artist = 100
"#;

#[test]
fn the_documented_file_is_understood() {
    let file = parse(EXAMPLE).expect("the example is right");
    let job = file.job(None).expect("there is one job");
    assert_eq!((job.name.as_str(), job.mode), ("copy", Mode::Append));
    assert_eq!(job.max_quarantined, Some(QuarantineLimit::Percent(1.0)));
    assert_eq!(job.params["max_artist"], Parameter::Int(100));
    let Entities::List(entities) = &job.entities else { panic!("the entities are listed") };
    assert_eq!((entities[0].name(), entities[0].filter.as_deref()), ("albums", Some("ArtistId < :max_artist")));
    assert_eq!(entities[0].columns.set["origin"], Parameter::Text("legacy".into()));
    assert_eq!(file.environment_url("legacy").expect("it is known").expose(), "sqlite:/jobs/chinook.sqlite");
    assert_eq!(file.store_url().expect("the default").expose(), "sqlite:/jobs/migrate.db");
}

#[test]
fn the_starter_file_is_right() {
    let file = parse(JobFile::starter()).expect("the starter file is right");
    let job = file.job(None).expect("there is one job");
    assert_eq!(job.entities, Entities::All);
    file.environment_url(&job.source).expect("the source is there");
    file.environment_url(&job.target).expect("the target is there");
}

#[test]
fn a_variable_is_needed_only_where_its_environment_is_used() {
    let file = parse(EXAMPLE).expect("the example is right");
    file.environment_url_with("legacy", &|_| None).expect("it names no variable");
    let error = file.environment_url_with("warehouse", &|_| None).expect_err("the variable is not set").to_string();
    for part in ["WAREHOUSE_URL", "warehouse", "/jobs/migrate.toml"] {
        assert!(error.contains(part), "{error}");
    }
    let url = file.environment_url_with("warehouse", &|_| Some("postgres://u:p@h/d".to_owned())).expect("it is set");
    assert_eq!(url.expose(), "postgres://u:p@h/d");
}

#[test]
fn bad_files_give_one_clear_error_each() {
    let job = "[environments.a]\nurl = \"sqlite:a\"\n[jobs.copy]\nsource = \"a\"\ntarget = \"a\"\n";
    for (text, parts) in [
        ("[jobs.copy\n".to_owned(), vec!["line 1"]),
        ("[environment.a]\nurl = \"x\"".to_owned(), vec!["unknown key \"environment\"", "did you mean \"environments\"?"]),
        (format!("{job}modus = \"init\""), vec!["unknown key \"modus\"", "line 6", "[jobs.copy]"]),
        (format!("{job}mdoe = \"init\""), vec!["did you mean \"mode\"?"]),
        (format!("{job}mode = \"repalce\""), vec!["\"repalce\"", "did you mean \"replace\"?", "line 6"]),
        (format!("{job}entities = \"all\""), vec!["\"*\" or a list"]),
        (format!("{job}entities = [{{ source = \"t\", kee = [\"a\"] }}]"), vec!["unknown key \"kee\"", "did you mean \"key\"?"]),
        (format!("{job}[[jobs.copy.entities]]\nname = \"t\""), vec!["\"source\" is missing", "[[jobs.copy.entities]]"]),
        ("[jobs.copy]\nsource = \"a\"".to_owned(), vec!["\"target\" is missing", "[jobs.copy]"]),
        (format!("{job}parallel = \"many\""), vec!["line 6"]),
        (format!("{job}parallel = -1"), vec!["line 6"]),
        (format!("{job}max_quarantined = \"few\""), vec!["\"few\"", "0.5%"]),
        (format!("{job}[jobs.copy.params]\nday = 2024-01-01"), vec!["dates in quotes", "line 7"]),
        (format!("{job}[jobs.copy.columns]\n"), vec!["unknown key \"columns\""]),
        ("[jobs]\ncopy = 1".to_owned(), vec!["a table with at least a source and a target"]),
    ] {
        let error = parse(&text).expect_err(&text);
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        for part in parts.iter().chain(&["/jobs/migrate.toml"]) {
            assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
        }
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn no_error_of_a_file_holds_a_secret() {
    for text in [
        "environments = \"postgres://u:hunter2@h/d\"",
        "[environments]\na = \"postgres://u:hunter2@h/d\"",
        "[environments.a]\nurl = [\"postgres://u:hunter2@h/d\"]",
        "[environments.a]\nurl = \"postgres://u:hunter2@h/d\" oops",
        "[environments.a]\nurl = \"postgres://u:hunter2@h/d",
        "[environments.a]\nurl = \"a\"\nurl = \"postgres://u:hunter2@h/d\"",
        "store = \"postgres://u:hunter2@h/\\\", expected d\"",
        "[jobs.a]\nentities = \"hunter2\"",
    ] {
        let error = parse(text).expect_err(text);
        assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
    }
}

#[test]
fn unknown_jobs_and_environments_are_named_with_a_hint() {
    let file = parse(EXAMPLE).expect("the example is right");
    let error = file.job(Some("cpoy")).expect_err("it is misspelt").to_string();
    assert!(error.contains("did you mean \"copy\"?") && error.contains("/jobs/migrate.toml"), "{error}");
    let error = file.environment_url("legcy").expect_err("it is misspelt").to_string();
    assert!(error.contains("did you mean \"legacy\"?"), "{error}");
    let two = file.with_job(Job::new("other", "legacy", "warehouse"));
    let error = two.job(None).expect_err("there are two").to_string();
    assert!(error.contains("copy, other"), "{error}");
    assert!(JobFile::new().job(None).expect_err("there is none").to_string().contains("no jobs"));
}

#[test]
fn what_is_to_become_of_lost_rows_is_checked_where_its_job_is_used() {
    let text = EXAMPLE.replace("mode     = \"append\"", "mode = \"update\"\ndeletes = { mode = \"hard\", column = \"x\" }");
    assert_ne!(text, EXAMPLE);
    let error = parse(&text).expect("it is well formed").job(None).expect_err("only marks have a column").to_string();
    assert!(error.contains("deletes.column") && error.contains("job copy"), "{error}");
}

#[test]
fn a_missing_file_says_how_to_get_one() {
    let error = JobFile::load(Path::new("/nowhere/migrate.toml")).expect_err("there is none");
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("migrate init") && error.to_string().contains("/nowhere/migrate.toml"), "{error}");
}

/// Run with `UPDATE_SCHEMA=1` to write it anew.
#[test]
fn the_shipped_json_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/job-file.schema.json");
    let current = format!("{:#}\n", JobFile::json_schema());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder can be made");
        std::fs::write(&path, &current).expect("the file can be written");
    }
    let shipped = std::fs::read_to_string(&path).expect("the schema is shipped");
    assert!(shipped == current, "schema/job-file.schema.json is not current: run this test with UPDATE_SCHEMA=1");
}
