//! Stack for what recurses, and an end for what panics: parser and interpreter are others' code, and run on texts of others.

/// Without optimisation, a level of brackets takes up to 170 KiB while it is parsed, and an operator in a chain 33 KiB (measured
/// with cel 0.15): 11 MiB at the bounds of [`super::syntax`]. Only what is used of it becomes memory.
const STACK_BYTES: usize = 32 << 20;

/// Runs it beside this thread and waits for it. None if it panicked, or if the process can have no more threads.
pub(super) fn run<T: Send>(what: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("cel".to_owned()).stack_size(STACK_BYTES);
        thread.spawn_scoped(scope, what).ok()?.join().ok()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_panic_stays_there() {
        assert_eq!(super::run(|| 1), Some(1));
        assert_eq!(super::run(|| -> u8 { panic!("as an interpreter might") }), None);
    }
}
