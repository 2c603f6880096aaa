//! Settings from a file (TOML, or YAML by its extension) and the environment, read into a daemon's own type.
//! Knows files, variables and key paths; what a key means is the daemon's business, which turns the raw value into a
//! validated one and collects what is wrong in [`Mistakes`].
//!
//! `TOWLINE__SECTION__KEY` overrides a key outside of lists. The underscores are doubled because Kubernetes sets
//! variables like `TOWLINE_RECEIVER_SERVICE_HOST` in every pod of a namespace with such a Service.

mod mistakes;
mod tree;

use std::path::{Path, PathBuf};

use ::config::{Config, Environment, FileFormat, Format, Map, Source, Value};
use serde::de::DeserializeOwned;

pub use mistakes::{Mistake, Mistakes};

const VARIABLE_PREFIX: &str = "TOWLINE";
const SECTION_SEPARATOR: &str = "__";

/// Why settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("failed to read configuration file {}", .path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("failed to parse configuration file {}: {problem}", .path.display())]
    Parse { path: PathBuf, problem: String },
    #[error("failed to read configuration from the environment: {0}")]
    Environment(String),
    /// What is wrong in it, all of it that could be found in one go.
    #[error("{0}")]
    Mistakes(Mistakes),
}

/// Reads a `T` from the file, if there is one, overridden by this process's environment.
///
/// Keys that `T` does not have are mistakes, whether or not `T` says `deny_unknown_fields`.
pub fn load<T: DeserializeOwned>(path: Option<&Path>) -> Result<T, ConfigError> {
    // Variables that are not Unicode cannot be ours.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    load_from(path, variables)
}

/// [`load`] with the environment as an argument.
pub fn load_from<T: DeserializeOwned>(
    path: Option<&Path>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut builder = Config::builder();
    if let Some(path) = path {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let origin = path.display().to_string();
        let table = parse(path, &origin, &text)
            .map_err(|problem| ConfigError::Parse { path: path.to_owned(), problem: problem.trim_end().to_owned() })?;
        builder = builder.add_source(Table(table));
    }
    let variables = Environment::with_prefix(VARIABLE_PREFIX)
        .separator(SECTION_SEPARATOR)
        .source(Some(variables.into_iter().collect()));
    let merged = builder.add_source(variables).build().and_then(|config| config.collect());
    let merged = merged.map_err(|error| ConfigError::Environment(error.to_string()))?;

    let mut mistakes = Mistakes::new(path);
    let value = tree::read(merged, &mut mistakes);
    match value {
        Some(value) => mistakes.finish(value),
        None => Err(ConfigError::Mistakes(mistakes)),
    }
}

fn parse(path: &Path, origin: &str, text: &str) -> Result<Map<String, Value>, String> {
    let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    let origin = origin.to_owned();
    let toml = || FileFormat::Toml.parse(Some(&origin), text).map_err(|error| error.to_string());
    let yaml = || Yaml.parse(Some(&origin), text).map_err(|error| error.to_string());
    let (table, is_other) = if is_yaml { (yaml(), toml().is_ok()) } else { (toml(), yaml().is_ok()) };
    table.map_err(|problem| match (is_other, is_yaml) {
        (false, _) => problem,
        (true, true) => "it is TOML: call it .toml".to_owned(),
        (true, false) => "it is YAML: call it .yaml".to_owned(),
    })
}

/// YAML as a format of the `config` crate, read by the one YAML library of this workspace.
#[derive(Clone, Debug)]
struct Yaml;

impl Format for Yaml {
    fn parse(&self, _origin: Option<&String>, text: &str) -> Result<Map<String, Value>, crate::BoxError> {
        Ok(serde_saphyr::from_str::<Option<Map<String, Value>>>(text)?.unwrap_or_default())
    }
}

/// What one file said, as a source that can be overridden.
#[derive(Clone, Debug)]
struct Table(Map<String, Value>);

impl Source for Table {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ::config::ConfigError> {
        Ok(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Settings {
        listen: String,
        workers: Option<u16>,
        #[serde(default)]
        tls: Option<Tls>,
        #[serde(default)]
        hooks: Vec<Hook>,
        #[serde(default)]
        namespaces: Vec<String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Tls {
        cert: PathBuf,
        reload: Option<bool>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Hook {
        path: String,
        provider: Provider,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "kebab-case")]
    enum Provider {
        Github,
        AzureDevops,
    }

    const TOML: &str =
        "listen = \"a:1\"\nworkers = 2\n[tls]\ncert = \"/c\"\n[[hooks]]\npath = \"/h\"\nprovider = \"azure-devops\"\n";

    fn read(name: &str, text: &str, variables: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        load_from(Some(&path), variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn mistakes(name: &str, text: &str, variables: &[(&str, &str)]) -> Vec<String> {
        match read(name, text, variables) {
            Err(ConfigError::Mistakes(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
            other => panic!("expected mistakes, got {other:?}"),
        }
    }

    #[test]
    fn toml_and_yaml_say_the_same() {
        let toml = read("a.toml", TOML, &[]).unwrap();
        let yaml = "listen: a:1\nworkers: 2\ntls: {cert: /c}\nhooks:\n- path: /h\n  provider: azure-devops\n";
        assert_eq!(toml, read("a.yaml", yaml, &[]).unwrap());
        assert_eq!(toml.hooks[0].provider, Provider::AzureDevops);
        assert_eq!(read("a.yml", "listen: x\n", &[]).unwrap().listen, "x");
    }

    #[test]
    fn the_environment_overrides_and_foreign_variables_are_not_read() {
        let variables = [
            ("TOWLINE__TLS__CERT", "/other"),
            ("TOWLINE__WORKERS", "7"),
            ("TOWLINE__TLS__RELOAD", "true"),
            ("TOWLINE__NAMESPACES", "a, b"),
            ("TOWLINE_RECEIVER_SERVICE_HOST", "10.0.0.1"),
            ("TOWLINE_LOG", "debug"),
        ];
        let settings = read("a.toml", TOML, &variables).unwrap();
        assert_eq!(settings.workers, Some(7));
        assert_eq!(settings.tls, Some(Tls { cert: "/other".into(), reload: Some(true) }));
        assert_eq!(settings.namespaces, ["a", "b"]);
        let alone: Settings = load_from(None, [("TOWLINE__LISTEN".to_owned(), "b:2".to_owned())]).unwrap();
        assert_eq!(alone.listen, "b:2");
    }

    #[test]
    fn unknown_keys_are_all_named_with_the_nearest_known_one() {
        let text = "listn = \"a\"\nlisten = \"a\"\n[tls]\ncert = \"/c\"\ncerts = \"/c\"\n[[hooks]]\npath = \"/h\"\nprovider = \"github\"\npaths = 1\n";
        assert_eq!(
            mistakes("a.toml", text, &[("TOWLINE__WHATEVER", "x")]),
            [
                "listn: unknown key, did you mean `listen`?",
                "whatever: unknown key (set by TOWLINE__WHATEVER), known are: listen, workers, tls, hooks, namespaces",
                "hooks[0].paths: unknown key, did you mean `path`?",
                "tls.certs: unknown key, did you mean `cert`?",
            ]
        );
    }

    #[test]
    fn types_and_missing_keys_name_their_path() {
        let missing = mistakes("a.toml", "listen = \"a\"\n[[hooks]]\nprovider = \"github\"\n", &[]);
        assert_eq!(missing, ["hooks[0].path: is missing"]);
        let wrong = mistakes("a.toml", "listen = [1]\n", &[]);
        assert_eq!(wrong, ["listen: invalid type: sequence, expected a string"]);
        let word = mistakes("a.toml", "listen = \"a\"\n[[hooks]]\npath = \"/\"\nprovider = \"gihub\"\n", &[]);
        assert_eq!(word, ["hooks[0].provider: unknown value `gihub`, did you mean `github`?"]);
        let number = mistakes("a.toml", "listen = \"a\"\n", &[("TOWLINE__WORKERS", "many")]);
        assert_eq!(number, ["workers: invalid type: string, expected a number (set by TOWLINE__WORKERS)"]);
    }

    #[test]
    fn a_file_that_cannot_be_parsed_is_named() {
        let error = read("a.toml", "listen = \n", &[]).unwrap_err();
        assert!(matches!(&error, ConfigError::Parse { path, .. } if path.ends_with("a.toml")), "{error}");
        assert!(matches!(read("a.yaml", "a: [", &[]).unwrap_err(), ConfigError::Parse { .. }));
        let missing = load_from::<Settings>(Some(Path::new("/nowhere/a.toml")), []).unwrap_err();
        assert!(matches!(missing, ConfigError::Read { .. }));
    }
}
