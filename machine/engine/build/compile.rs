//! Compiles the patched source with its own CMake build, or takes a finished build from the cache.

use crate::{cache, fail};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const ARCHS: [&str; 10] = [
    "x86", "arm", "aarch64", "riscv", "mips", "sparc", "m68k", "ppc", "s390x", "tricore",
];
/// Patch 4 drops the delay-slot rule of MIPS, and no other architecture was ever tested with the patches.
const PATCHED_ARCHS: [&str; 2] = ["arm", "aarch64"];
/// What the build leaves for the linker.
const LIBRARY: &str = "libunicorn.a";
const DEFINES: [(&str, &str); 3] = [
    ("BUILD_SHARED_LIBS", "OFF"),
    ("UNICORN_BUILD_TESTS", "OFF"),
    ("UNICORN_INSTALL", "ON"),
];
/// Always the optimized engine: an unoptimized one is many times slower, and one build for every profile is one
/// behaviour for every profile.
const CMAKE_PROFILE: &str = "Release";

/// Leaves the static library in `out/link` (CMake installs to `out/lib`) and tells cargo to link it. A libunicorn of the
/// system is never used.
pub fn libraries(source: &Path, engine_id: &str, out: &Path) {
    let archs = enabled_archs();
    let (compiler, flags) = compiler();
    let entry = cache::Entry::new(&[
        ("engine", engine_id),
        ("archs", &archs),
        ("compiler", &compiler),
        ("flags", &flags),
        ("target", &env::var("TARGET").expect("cargo sets it")),
        ("cmake", &format!("{CMAKE_PROFILE} {DEFINES:?}")),
    ]);
    let link = out.join("link");
    fs::create_dir_all(&link).unwrap_or_else(|error| fail(format_args!("{}: {error}", link.display())));
    // A copy, not a link: what this target directory was built from must survive a cleared cache.
    if !entry.fetch(LIBRARY, &link) {
        let built = run_cmake(source, &archs);
        fs::copy(&built, link.join(LIBRARY)).unwrap_or_else(|error| fail(format_args!("{}: {error}", built.display())));
        entry.store(LIBRARY, &link);
    }
    println!("cargo:rustc-link-search=native={}", link.display());
    println!("cargo:rustc-link-lib=static=unicorn");
    println!("cargo:rustc-link-lib=pthread");
    println!("cargo:rustc-link-lib=m");
}

fn enabled_archs() -> String {
    let enabled = |arch: &&str| env::var_os(format!("CARGO_FEATURE_ARCH_{}", arch.to_uppercase())).is_some();
    let archs: Vec<_> = ARCHS.into_iter().filter(enabled).collect();
    if let Some(other) = archs.iter().find(|arch| !PATCHED_ARCHS.contains(arch)) {
        fail(format_args!(
            "feature arch_{other}: the patched engine serves only {}",
            PATCHED_ARCHS.join(" and ")
        ));
    }
    archs.join(";")
}

/// What the C compiler says it is, and the flags the environment gives it.
fn compiler() -> (String, String) {
    // Optimization and debug information come from CMAKE_PROFILE, not from cargo's profile.
    let compiler = cc::Build::new().opt_level(3).debug(false).try_get_compiler();
    let compiler =
        compiler.unwrap_or_else(|error| fail(format_args!("no C compiler (Debian: build-essential): {error}")));
    match compiler.to_command().arg("--version").output() {
        Ok(output) if output.status.success() => (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            format!("{:?}", compiler.args()),
        ),
        _ => fail(format_args!(
            "{} --version fails (Debian: build-essential)",
            compiler.path().display()
        )),
    }
}

fn run_cmake(source: &Path, archs: &str) -> PathBuf {
    let cmake = env::var_os("CMAKE").unwrap_or_else(|| "cmake".into());
    if !Command::new(&cmake)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        fail(format_args!(
            "{} is needed to build the CPU engine (Debian: cmake)",
            cmake.display()
        ));
    }
    let mut config = cmake::Config::new(source);
    config.profile(CMAKE_PROFILE).define("UNICORN_ARCH", archs);
    // The configure step rewrites headers: with it on each run, everything would be compiled again.
    config.always_configure(false);
    for (name, value) in DEFINES {
        config.define(name, value);
    }
    let installed = config.build();
    ["lib", "lib64"]
        .iter()
        .map(|folder| installed.join(folder).join(LIBRARY))
        .find(|path| path.exists())
        .unwrap_or_else(|| {
            fail(format_args!(
                "the engine's build left no {LIBRARY} in {}",
                installed.display()
            ))
        })
}
