//! Arguments in, exit code out.

fn main() -> std::process::ExitCode {
    p2ptun::cli::main()
}
