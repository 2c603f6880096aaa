//! `towline webhook create`, `check` and `delete` against Git hosts that keep their hooks in memory and answer as their
//! documentation says. What they have in common: where the hook goes, who asks, and how a run is begun.

mod github;
mod gitlab;
mod refusals;

use serde_json::Value;

use crate::{Place, Ran};

/// Where hooks deliver to. Nobody delivers: the hosts here write down what a receiver is said to have answered.
const URL: &str = "https://hooks.example/hooks/x";
const TOKEN: &str = "token-that-nobody-may-see";

/// A folder with a token, and a host's address.
struct Desk {
    place: Place,
    api: String,
    provider: &'static str,
}

impl Desk {
    fn new(provider: &'static str, api: String) -> Self {
        let place = Place::new();
        place.write("token", TOKEN);
        Self { place, api, provider }
    }

    /// One of the three commands, with what all of them need.
    fn run(&self, command: &str, more: &[&str]) -> Ran {
        self.run_with(command, more, &[])
    }

    fn run_with(&self, command: &str, more: &[&str], environment: &[(&str, &str)]) -> Ran {
        let whose = if more.contains(&"--org") { &[][..] } else { &["--repo", "org/app"] };
        let needed = ["--provider", self.provider, "--url", URL, "--token-file", "token", "--api", &self.api];
        let ran = self.place.towline_with(&[&["webhook", command], &needed[..], whose, more].concat(), environment);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains(TOKEN), "the token is shown: {text}");
            assert!(!self.secret().is_some_and(|secret| text.contains(&secret)), "the secret is shown: {text}");
        }
        ran
    }

    fn create(&self, more: &[&str]) -> Ran {
        self.run("create", &[&["--secret-file", "secret"], more].concat())
    }

    /// The report of a `create` that worked.
    fn created(&self, more: &[&str]) -> Value {
        let ran = self.create(&[&["-o", "json"], more].concat());
        assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    /// The names of the settings that `check` finds wrong; its exit code has to agree.
    fn wrong(&self, more: &[&str]) -> Vec<String> {
        let ran = self.run("check", &[&["-o", "json"], more].concat());
        let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
        let findings = report["findings"].as_array().unwrap().iter().filter(|finding| finding["deviation"] == true);
        let wrong: Vec<String> = findings.map(|finding| finding["setting"].as_str().unwrap().to_owned()).collect();
        assert_eq!((ran.code, &report["asExpected"]), (i32::from(!wrong.is_empty()), &Value::Bool(wrong.is_empty())));
        wrong
    }

    /// What is in the secret's file.
    fn secret(&self) -> Option<String> {
        std::fs::read_to_string(self.place.path().join("secret")).ok().map(|text| text.trim_end().to_owned())
    }
}
