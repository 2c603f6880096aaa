//! How a `main` ends: nothing printed on success, the chain of causes once on failure.

use std::error::Error;
use std::process::ExitCode;

/// The exit code for a result; an error is printed to stderr with its causes.
pub fn report<E>(result: Result<(), E>) -> ExitCode
where
    E: Into<crate::BoxError>,
{
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error: Box<dyn Error> = error.into();
            eprintln!("error: {}", crate::error::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
