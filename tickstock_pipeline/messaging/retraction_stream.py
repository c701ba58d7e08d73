"""The stream of retractions, beside that of pattern events and in one order with it.

Whoever reads ``pattern_events`` expects detections and nothing else, so retractions have a stream of their own. An
entry of it is later than all entries of both streams, and what comes after it in either is later still: one id says
how far a reader has come in both.
"""

ADD_RETRACTION = """
local function add_retraction(retractions, patterns, field, payload, kept)
    local time = redis.call('TIME')
    local ms, number = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), '0'
    for _, key in ipairs({retractions, patterns}) do
        if redis.call('EXISTS', key) == 1 then
            local facts = redis.pcall('XINFO', 'STREAM', key)
            for i = 1, #facts, 2 do
                if facts[i] == 'last-generated-id' then
                    local last_ms, last_number = string.match(facts[i + 1], '(%d+)-(%d+)')
                    local later = string.format('%.0f', last_number + 1)
                    if tonumber(last_ms) > tonumber(ms) then
                        ms, number = last_ms, later
                    elseif last_ms == ms and tonumber(later) > tonumber(number) then
                        number = later
                    end
                end
            end
        end
    end
    local id = redis.pcall('XADD', retractions, 'MAXLEN', '~', kept, ms .. '-' .. number, field, payload)
    if type(id) ~= 'table' and redis.call('EXISTS', patterns) == 1 then
        local moved = redis.pcall('XSETID', patterns, id)
        if moved.err then return moved end
    end
    return id
end
"""
"""A function for scripts of Redis: adds to the stream ``retractions``. Redis numbers the entries of each stream for
itself, so the number given here is taken from the stream ``patterns`` as well. Gives its id, or an error."""
