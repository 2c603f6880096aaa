//! Where the real parts are. `cargo xtask tools` finds or builds them; here they are only looked up.

use std::env;
use std::path::{Path, PathBuf};

use crate::Failure;

/// The binary of that name: `TOWLINE_TOOL_<NAME>`, then `KUBEBUILDER_ASSETS`, `target/tools/bin`, `PATH`.
pub fn tool(name: &str) -> Result<PathBuf, Failure> {
    let variable = format!("TOWLINE_TOOL_{}", name.replace('-', "_").to_uppercase());
    if let Some(path) = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file()) {
        return Ok(path);
    }
    let assets = env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let search_path = env::var_os("PATH").unwrap_or_default();
    assets
        .into_iter()
        .chain(built())
        .chain(env::split_paths(&search_path))
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| Failure::new(format!("find {name}"), format!("run `cargo xtask tools {name}`")))
}

/// Folders that a built tool reads when it runs (Gitea's templates); none for one that is not built by us.
pub fn static_folder(name: &str) -> Option<PathBuf> {
    let bin = tool(name).ok()?;
    let folder = bin.parent()?.parent()?.join(format!("{name}-static"));
    folder.is_dir().then_some(folder)
}

/// `tools/bin` beside the running binary's own profile folder, or in the workspace's `target`.
fn built() -> Vec<PathBuf> {
    let exe = env::current_exe().unwrap_or_default();
    let beside = exe.ancestors().skip(1).take(4).map(|dir| dir.join("tools/bin"));
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/bin");
    beside.chain([workspace]).filter(|dir| dir.is_dir()).collect()
}
