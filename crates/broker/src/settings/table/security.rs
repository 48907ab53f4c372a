//! Authentication, authorization, TLS. Nothing of it is served yet: listeners other than PLAINTEXT are refused.

use super::{Kind, Setting};

#[rustfmt::skip]
pub(super) const SETTINGS: &[Setting] = &[
    Setting::new("authorizer.class.name", Kind::String, Some(""))
        .refused("The authorizer.", "access control comes with a later release; without it every client may do everything"),
    Setting::new("delegation.token.expiry.check.interval.ms", Kind::Long, Some("3600000"))
        .at_least(1)
        .not_yet("Delegation tokens: expiry check interval in milliseconds."),
    Setting::new("delegation.token.expiry.time.ms", Kind::Long, Some("86400000"))
        .at_least(1)
        .not_yet("Delegation tokens: expiry time in milliseconds."),
    Setting::new("delegation.token.max.lifetime.ms", Kind::Long, Some("604800000"))
        .at_least(1)
        .not_yet("Delegation tokens: max lifetime in milliseconds."),
    Setting::new("delegation.token.secret.key", Kind::Password, None)
        .not_yet("Delegation tokens: secret key."),
    Setting::new("principal.builder.class", Kind::Class, Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"))
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("sasl.client.callback.handler.class", Kind::Class, None)
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("sasl.enabled.mechanisms", Kind::List, Some("GSSAPI"))
        .not_yet("SASL: enabled mechanisms."),
    Setting::new("sasl.jaas.config", Kind::Password, None)
        .not_yet("SASL: jaas config."),
    Setting::new("sasl.kerberos.kinit.cmd", Kind::String, Some("/usr/bin/kinit"))
        .no_such_part("Kerberos is not offered: kinit cmd."),
    Setting::new("sasl.kerberos.min.time.before.relogin", Kind::Long, Some("60000"))
        .no_such_part("Kerberos is not offered: min time before relogin."),
    Setting::new("sasl.kerberos.principal.to.local.rules", Kind::List, Some("DEFAULT"))
        .no_such_part("Kerberos is not offered: principal to local rules."),
    Setting::new("sasl.kerberos.service.name", Kind::String, None)
        .no_such_part("Kerberos is not offered: service name."),
    Setting::new("sasl.kerberos.ticket.renew.jitter", Kind::Double, Some("0.05"))
        .no_such_part("Kerberos is not offered: ticket renew jitter."),
    Setting::new("sasl.kerberos.ticket.renew.window.factor", Kind::Double, Some("0.8"))
        .no_such_part("Kerberos is not offered: ticket renew window factor."),
    Setting::new("sasl.login.callback.handler.class", Kind::Class, None)
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("sasl.login.class", Kind::Class, None)
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("sasl.login.connect.timeout.ms", Kind::Int, None)
        .not_yet("SASL: login connect timeout in milliseconds."),
    Setting::new("sasl.login.read.timeout.ms", Kind::Int, None)
        .not_yet("SASL: login read timeout in milliseconds."),
    Setting::new("sasl.login.refresh.buffer.seconds", Kind::Short, Some("300"))
        .not_yet("SASL: login refresh buffer seconds."),
    Setting::new("sasl.login.refresh.min.period.seconds", Kind::Short, Some("60"))
        .not_yet("SASL: login refresh min period seconds."),
    Setting::new("sasl.login.refresh.window.factor", Kind::Double, Some("0.8"))
        .not_yet("SASL: login refresh window factor."),
    Setting::new("sasl.login.refresh.window.jitter", Kind::Double, Some("0.05"))
        .not_yet("SASL: login refresh window jitter."),
    Setting::new("sasl.login.retry.backoff.max.ms", Kind::Long, Some("10000"))
        .not_yet("SASL: login retry backoff max in milliseconds."),
    Setting::new("sasl.login.retry.backoff.ms", Kind::Long, Some("100"))
        .not_yet("SASL: login retry backoff in milliseconds."),
    Setting::new("sasl.mechanism.controller.protocol", Kind::String, Some("GSSAPI"))
        .not_yet("SASL: mechanism controller protocol."),
    Setting::new("sasl.mechanism.inter.broker.protocol", Kind::String, Some("GSSAPI"))
        .not_yet("SASL: mechanism inter broker protocol."),
    Setting::new("sasl.oauthbearer.assertion.algorithm", Kind::String, Some("RS256"))
        .one_of_any_case(&["ES256", "RS256"])
        .not_yet("SASL: oauthbearer assertion algorithm."),
    Setting::new("sasl.oauthbearer.assertion.claim.aud", Kind::String, None)
        .not_yet("SASL: oauthbearer assertion claim aud."),
    Setting::new("sasl.oauthbearer.assertion.claim.exp.seconds", Kind::Int, Some("300"))
        .between(0, 86400)
        .not_yet("SASL: oauthbearer assertion claim exp seconds."),
    Setting::new("sasl.oauthbearer.assertion.claim.iss", Kind::String, None)
        .not_yet("SASL: oauthbearer assertion claim iss."),
    Setting::new("sasl.oauthbearer.assertion.claim.jti.include", Kind::Boolean, Some("false"))
        .not_yet("SASL: oauthbearer assertion claim jti include."),
    Setting::new("sasl.oauthbearer.assertion.claim.nbf.seconds", Kind::Int, Some("60"))
        .between(0, 3600)
        .not_yet("SASL: oauthbearer assertion claim nbf seconds."),
    Setting::new("sasl.oauthbearer.assertion.claim.sub", Kind::String, None)
        .not_yet("SASL: oauthbearer assertion claim sub."),
    Setting::new("sasl.oauthbearer.assertion.file", Kind::String, None)
        .not_yet("SASL: oauthbearer assertion file."),
    Setting::new("sasl.oauthbearer.assertion.private.key.file", Kind::String, None)
        .not_yet("SASL: oauthbearer assertion private key file."),
    Setting::new("sasl.oauthbearer.assertion.private.key.passphrase", Kind::Password, None)
        .not_yet("SASL: oauthbearer assertion private key passphrase."),
    Setting::new("sasl.oauthbearer.assertion.template.file", Kind::String, None)
        .not_yet("SASL: oauthbearer assertion template file."),
    Setting::new("sasl.oauthbearer.client.credentials.client.id", Kind::String, None)
        .not_yet("SASL: oauthbearer client credentials client id."),
    Setting::new("sasl.oauthbearer.client.credentials.client.secret", Kind::Password, None)
        .not_yet("SASL: oauthbearer client credentials client secret."),
    Setting::new("sasl.oauthbearer.clock.skew.seconds", Kind::Int, Some("30"))
        .not_yet("SASL: oauthbearer clock skew seconds."),
    Setting::new("sasl.oauthbearer.expected.audience", Kind::List, Some(""))
        .not_yet("SASL: oauthbearer expected audience."),
    Setting::new("sasl.oauthbearer.expected.issuer", Kind::String, None)
        .not_yet("SASL: oauthbearer expected issuer."),
    Setting::new("sasl.oauthbearer.jwks.endpoint.refresh.ms", Kind::Long, Some("3600000"))
        .not_yet("SASL: oauthbearer jwks endpoint refresh in milliseconds."),
    Setting::new("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Kind::Long, Some("10000"))
        .not_yet("SASL: oauthbearer jwks endpoint retry backoff max in milliseconds."),
    Setting::new("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Kind::Long, Some("100"))
        .not_yet("SASL: oauthbearer jwks endpoint retry backoff in milliseconds."),
    Setting::new("sasl.oauthbearer.jwks.endpoint.url", Kind::String, None)
        .not_yet("SASL: oauthbearer jwks endpoint url."),
    Setting::new("sasl.oauthbearer.jwt.retriever.class", Kind::Class, Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtRetriever"))
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("sasl.oauthbearer.jwt.validator.class", Kind::Class, Some("org.apache.kafka.common.security.oauthbearer.DefaultJwtValidator"))
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("sasl.oauthbearer.scope", Kind::String, None)
        .not_yet("SASL: oauthbearer scope."),
    Setting::new("sasl.oauthbearer.scope.claim.name", Kind::String, Some("scope"))
        .not_yet("SASL: oauthbearer scope claim name."),
    Setting::new("sasl.oauthbearer.sub.claim.name", Kind::String, Some("sub"))
        .not_yet("SASL: oauthbearer sub claim name."),
    Setting::new("sasl.oauthbearer.token.endpoint.url", Kind::String, None)
        .not_yet("SASL: oauthbearer token endpoint url."),
    Setting::new("sasl.server.callback.handler.class", Kind::Class, None)
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("sasl.server.max.receive.size", Kind::Int, Some("524288"))
        .not_yet("SASL: server max receive size."),
    Setting::new("security.providers", Kind::String, None)
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("ssl.allow.dn.changes", Kind::Boolean, Some("false"))
        .not_yet("TLS: allow dn changes."),
    Setting::new("ssl.allow.san.changes", Kind::Boolean, Some("false"))
        .not_yet("TLS: allow san changes."),
    Setting::new("ssl.cipher.suites", Kind::List, Some(""))
        .not_yet("TLS: cipher suites."),
    Setting::new("ssl.client.auth", Kind::String, Some("none"))
        .one_of(&["required", "requested", "none"])
        .not_yet("TLS: client auth."),
    Setting::new("ssl.enabled.protocols", Kind::List, Some("TLSv1.2,TLSv1.3"))
        .not_yet("TLS: enabled protocols."),
    Setting::new("ssl.endpoint.identification.algorithm", Kind::String, Some("https"))
        .not_yet("TLS: endpoint identification algorithm."),
    Setting::new("ssl.engine.factory.class", Kind::Class, None)
        .refused("A class to load.", "Java classes cannot be loaded"),
    Setting::new("ssl.key.password", Kind::Password, None)
        .not_yet("TLS: key password."),
    Setting::new("ssl.keymanager.algorithm", Kind::String, Some("SunX509"))
        .not_yet("TLS: keymanager algorithm."),
    Setting::new("ssl.keystore.certificate.chain", Kind::Password, None)
        .not_yet("TLS: keystore certificate chain."),
    Setting::new("ssl.keystore.key", Kind::Password, None)
        .not_yet("TLS: keystore key."),
    Setting::new("ssl.keystore.location", Kind::String, None)
        .not_yet("TLS: keystore location."),
    Setting::new("ssl.keystore.password", Kind::Password, None)
        .not_yet("TLS: keystore password."),
    Setting::new("ssl.keystore.type", Kind::String, Some("JKS"))
        .not_yet("TLS: keystore type."),
    Setting::new("ssl.principal.mapping.rules", Kind::String, Some("DEFAULT"))
        .not_yet("TLS: principal mapping rules."),
    Setting::new("ssl.protocol", Kind::String, Some("TLSv1.3"))
        .not_yet("TLS: protocol."),
    Setting::new("ssl.provider", Kind::String, None)
        .not_yet("TLS: provider."),
    Setting::new("ssl.secure.random.implementation", Kind::String, None)
        .not_yet("TLS: secure random implementation."),
    Setting::new("ssl.trustmanager.algorithm", Kind::String, Some("PKIX"))
        .not_yet("TLS: trustmanager algorithm."),
    Setting::new("ssl.truststore.certificates", Kind::Password, None)
        .not_yet("TLS: truststore certificates."),
    Setting::new("ssl.truststore.location", Kind::String, None)
        .not_yet("TLS: truststore location."),
    Setting::new("ssl.truststore.password", Kind::Password, None)
        .not_yet("TLS: truststore password."),
    Setting::new("ssl.truststore.type", Kind::String, Some("JKS"))
        .not_yet("TLS: truststore type."),
    Setting::new("super.users", Kind::String, None)
        .not_yet("Principals that may do everything, once there is access control."),
    Setting::new("allow.everyone.if.no.acl.found", Kind::Boolean, None)
        .not_yet("What holds without any ACL, once there is access control."),
];
