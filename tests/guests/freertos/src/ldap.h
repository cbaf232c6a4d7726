/* LDAPv3 server (RFC 4511): bind, search, unbind, who am I; everything that would change the directory is refused. */
#ifndef LDAP_H
#define LDAP_H

void ldap_start(void);

#endif
