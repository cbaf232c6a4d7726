/* The command line on the console. */
#ifndef SHELL_H
#define SHELL_H

void shell_start(void);

#endif
