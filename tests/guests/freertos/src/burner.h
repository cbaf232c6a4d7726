/* Burns processor time on request, for measurements of a busy guest. */
#ifndef BURNER_H
#define BURNER_H

#include <stdbool.h>
#include <stdint.h>

#define BURN_MS_MAX 30000u

struct burned {
    uint32_t ms;     /* as asked for, by the guest's clock */
    uint32_t rounds; /* of BURN_ROUND_INSTRUCTIONS each */
};
#define BURN_ROUND_INSTRUCTIONS 20000u /* 10,000 times `subs; bne`; the clock is read once a round */

void burner_start(void);
/* In the calling task. */
struct burned burn(uint32_t ms);
/* In the burner's own task, below the network's; `done` then runs under the core lock. False when too many wait. */
bool burner_request(uint32_t ms, void (*done)(uint32_t token, struct burned burned), uint32_t token);

#endif
