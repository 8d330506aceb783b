/**
 * What a script can tell an end by. `no`: the command worked, and what it was asked is not so - a check that finds a
 * problem, a diff that finds differences, a verification that finds damage.
 */
export const EXIT = { done: 0, failed: 1, usage: 2, no: 3, interrupted: 130 } as const;
