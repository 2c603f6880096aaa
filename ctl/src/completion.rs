//! `towline completion`: the shell's side of the command line.

use clap::{CommandFactory as _, Parser, ValueEnum};
use clap_complete::{Shell as Generator, generate};

use crate::exit::Exit;
use crate::ui::Ui;

#[derive(Parser)]
#[command(after_help = "bash: source <(towline completion bash)
zsh:  towline completion zsh > \"${fpath[1]}/_towline\"
fish: towline completion fish > ~/.config/fish/completions/towline.fish")]
pub(crate) struct Args {
    shell: Shell,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(args: &Args, ui: &mut Ui) -> Exit {
    let generator = match args.shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut script = Vec::new();
    generate(generator, &mut crate::args::Args::command(), "towline", &mut script);
    ui.result(&String::from_utf8_lossy(&script));
    Exit::Ok
}
