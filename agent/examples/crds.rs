//! Prints the custom resource definitions as a JSON list: `cargo xtask codegen` writes them to `deploy/crds/`.

fn main() -> Result<(), serde_json::Error> {
    serde_json::to_writer_pretty(std::io::stdout().lock(), &towline_agent::api::definitions())
}
