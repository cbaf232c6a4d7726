# A serial line does not tell the size of the window: ask the terminal, and go on without when it does not answer.
resize() {
    local saved rows columns
    saved=$(stty -g) || return
    stty raw -echo min 0 time 3
    printf '\0337\033[999;999H\033[6n\0338' >/dev/tty
    IFS='[;' read -r -d R -t 1 _ rows columns </dev/tty
    stty "$saved"
    case $rows$columns in '' | *[!0-9]*) return ;; esac
    stty rows "$rows" columns "$columns"
}
if [ "$(tty)" = /dev/ttyAMA0 ] && [ -n "$BASH" ]; then
    stty sane iutf8
    resize
fi
