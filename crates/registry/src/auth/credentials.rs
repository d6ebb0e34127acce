//! Where credentials come from, in order: given for a host, then the configurations, then clouds.

use std::env;
use std::path::PathBuf;

use super::docker_config::Place;
use super::{Cloud, Credential, DockerConfig, helper};
use crate::RegistryError;
use crate::reference::Repository;

/// Everything that may hold a credential.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    given: Vec<(String, Credential)>,
    configs: Vec<DockerConfig>,
    clouds: Vec<Cloud>,
}

impl Credentials {
    /// None: every registry is asked without.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// What the user's other programs have: `DOCKER_CONFIG` or `~/.docker/config.json`, then podman's
    /// `REGISTRY_AUTH_FILE` or `$XDG_RUNTIME_DIR/containers/auth.json`.
    ///
    /// # Errors
    /// As [`DockerConfig::read`].
    pub fn from_environment() -> Result<Self, RegistryError> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let docker = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")));
        let podman = set("REGISTRY_AUTH_FILE")
            .or_else(|| Some(set("XDG_RUNTIME_DIR")?.join("containers").join("auth.json")));
        let mut found = Self::default();
        for path in docker.map(|folder| folder.join("config.json")).into_iter().chain(podman) {
            found.configs.extend(DockerConfig::read(&path)?);
        }
        Ok(found)
    }

    /// Adds a credential for one registry (`host` or `host:port`). It goes before every configuration.
    #[must_use]
    pub fn with(mut self, registry: &str, credential: Credential) -> Self {
        self.given.push((registry.to_ascii_lowercase(), credential));
        self
    }

    /// Adds a configuration, a pull secret say. It goes after those that are there.
    #[must_use]
    pub fn with_config(mut self, config: DockerConfig) -> Self {
        self.configs.push(config);
        self
    }

    /// Adds a cloud's own way to a credential for its registries. It goes after every configuration.
    #[must_use]
    pub fn with_cloud(mut self, cloud: Cloud) -> Self {
        self.clouds.push(cloud);
        self
    }

    /// The credential for a repository.
    pub(crate) async fn find(&self, repository: &Repository) -> Result<Option<Credential>, RegistryError> {
        if let Some((_, credential)) = self.given.iter().find(|(host, _)| host == repository.registry()) {
            return Ok(Some(credential.clone()));
        }
        for config in &self.configs {
            match config.find(repository) {
                Place::Here(credential) => return Ok(Some(credential)),
                Place::Helper(name) => {
                    if let Some(credential) = helper::ask(&name, repository.registry()).await? {
                        return Ok(Some(credential));
                    }
                }
                Place::Nowhere => {}
            }
        }
        for cloud in &self.clouds {
            if let Some(credential) = cloud.credential(repository.registry()).await? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}
