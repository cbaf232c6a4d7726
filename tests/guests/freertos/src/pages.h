/* The generated bodies of the HTTP service. */
#ifndef PAGES_H
#define PAGES_H

#include "text.h"

void page_index(struct text *t);  /* HTML: the services and the mails */
void page_status(struct text *t); /* JSON: counters */
void page_mails(struct text *t);  /* JSON: the list of mails */

#endif
