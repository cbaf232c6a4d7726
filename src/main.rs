//! The `quorate` program.

fn main() {
    eprintln!("quorate: not assembled yet");
    std::process::exit(64);
}
