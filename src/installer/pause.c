/* pause: does nothing until it is told to end. A pod that has done its work shows by running it that it has. */
#include <signal.h>
#include <stddef.h>

int main(void) {
  sigset_t end;
  int which;
  sigemptyset(&end);
  sigaddset(&end, SIGTERM);
  sigaddset(&end, SIGINT);
  sigprocmask(SIG_BLOCK, &end, NULL);
  return sigwait(&end, &which);
}
