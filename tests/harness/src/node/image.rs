//! Images without Docker: one layer with a program and the libraries that it needs, as `docker save` writes it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::json;
use sha2::{Digest, Sha256};

/// The public certificate authorities, where Debian and the images that derive from it have them.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// An image of one program.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name with a tag.
    pub reference: String,
    /// The program on this machine.
    pub program: PathBuf,
    /// The program in the image: an absolute path.
    pub path: String,
    /// Who runs it, as `UID:GID`.
    pub user: String,
    /// The entry point, by default.
    pub entrypoint: Vec<String>,
    /// Its arguments, by default.
    pub command: Vec<String>,
}

impl Image {
    /// Writes the archive, which `ctr images import` reads.
    ///
    /// # Errors
    ///
    /// If files cannot be read or written, or the program's libraries cannot be told.
    pub fn write(&self, archive: &Path) -> io::Result<()> {
        let layer = archive.with_extension("layer");
        let digest = self.write_layer(&layer)?;
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": {
                "User": self.user,
                "Entrypoint": self.entrypoint,
                "Cmd": self.command,
                "WorkingDir": "/",
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", format!("SSL_CERT_FILE={AUTHORITIES}")],
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        let manifest = json!([{
            "Config": "config.json",
            "RepoTags": [self.reference],
            "Layers": ["layer.tar"],
        }]);
        let mut builder = tar::Builder::new(File::create(archive)?);
        append(&mut builder, "config.json", config.to_string().as_bytes())?;
        append(
            &mut builder,
            "manifest.json",
            manifest.to_string().as_bytes(),
        )?;
        builder.append_path_with_name(&layer, "layer.tar")?;
        builder.into_inner()?.flush()?;
        fs::remove_file(layer)
    }

    /// Writes the layer and returns its SHA-256 in hexadecimal.
    fn write_layer(&self, layer: &Path) -> io::Result<String> {
        let mut files = vec![(self.program.clone(), self.path.clone())];
        for library in libraries(&self.program)? {
            files.push((PathBuf::from(&library), library));
        }
        if Path::new(AUTHORITIES).is_file() {
            files.push((PathBuf::from(AUTHORITIES), AUTHORITIES.to_owned()));
        }
        let mut builder = tar::Builder::new(Hashed {
            file: File::create(layer)?,
            hash: Sha256::new(),
        });
        for (source, target) in files {
            let mut source = File::open(&source)?;
            let mut header = tar::Header::new_gnu();
            header.set_size(source.metadata()?.len());
            header.set_mode(0o755);
            builder.append_data(&mut header, target.trim_start_matches('/'), &mut source)?;
        }
        let hashed = builder.into_inner()?;
        Ok(hashed
            .hash
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect())
    }
}

/// A file of which the digest is wanted.
struct Hashed {
    file: File,
    hash: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(builder: &mut tar::Builder<File>, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(u64::try_from(content.len()).map_err(io::Error::other)?);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, content)
}

/// What Docker calls this machine's processor.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The paths of the shared libraries that a program needs, its loader among them; none for a static one.
fn libraries(program: &Path) -> io::Result<Vec<String>> {
    let output = Command::new("ldd").arg(program).output()?;
    Ok(parse_ldd(&String::from_utf8_lossy(&output.stdout)))
}

fn parse_ldd(output: &str) -> Vec<String> {
    output
        .lines()
        .filter_map(|line| {
            let line = line.trim();
            let path = line.split_once(" => ").map_or(line, |(_, path)| path);
            let path = path.split(" (").next()?;
            path.starts_with('/').then(|| path.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_are_those_with_a_path() {
        let output = "\tlinux-vdso.so.1 (0x00007ffe)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n";
        assert_eq!(
            parse_ldd(output),
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert!(parse_ldd("\tstatically linked\n").is_empty());
    }
}
