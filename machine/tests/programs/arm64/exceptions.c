// A guest whose exception vectors are not there: it takes exceptions for ever, and must still use up its grants.
#include "board.h"

volatile struct taken taken;

int main(void)
{
    print("going\n");
    WRITE(vbar_el1, NOWHERE);
    ISB();
    __asm__ volatile("udf #0");
    return 0;
}
