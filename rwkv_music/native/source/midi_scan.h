// Scan of a MIDI file for what the strict parser cannot read or reads wrongly, and count of its
// notes. The rules are those of rwkv_music/score/midi/scan.py, which is the reference.
#pragma once

#include <cstdint>
#include <cstring>

namespace rwkv_music {

constexpr int64_t kNotPlain = -1;

struct MidiBytes {
  const uint8_t *at, *end;

  int64_t left() const { return end - at; }
};

// What the tracks of a file do on its channels; bit c stands for channel c.
struct MidiTrackScan {
  int64_t notes = 0;
  uint32_t note_channels = 0, program_channels = 0;
};

inline bool is_ascii(const uint8_t* data, int64_t size) {
  uint8_t all = 0;
  for (int64_t i = 0; i < size; ++i) all |= data[i];
  return all < 0x80;
}

inline bool is_plain_meta(uint8_t type, const uint8_t* data, int64_t size) {
  if (type >= 0x01 && type <= 0x0F) {
    const bool is_lyric = type == 0x05;
    const bool is_karaoke = type == 0x01 && size >= 2 && data[0] == '@' && data[1] == 'K';
    return !is_lyric && !is_karaoke && is_ascii(data, size);
  }
  switch (type) {
    case 0x21: return size == 1 && data[0] == 0;                              // port
    case 0x51: return size == 3 && (data[0] | data[1] | data[2]) != 0;        // tempo
    case 0x58: return size == 4 && data[0] > 0 && data[1] <= 7;               // time signature
    case 0x59: return size == 2 && (data[0] <= 7 || data[0] >= 249) && data[1] <= 1;  // key
    default: return true;
  }
}

inline bool is_plain_controller(uint8_t number, uint8_t value) {
  const bool ends_notes = number == 120 || number >= 123;
  const bool is_rhythm_bank = number == 0 && value >= 120;
  return !ends_notes && !is_rhythm_bank;
}

// Moves behind a delta time of at most four bytes.
inline bool skip_delta(MidiBytes& bytes) {
  for (int count = 0; count < 4 && bytes.at < bytes.end; ++count)
    if (*bytes.at++ < 0x80) return true;
  return false;
}

// Reads the data of an event with a status byte and of the events that share it.
inline bool scan_channel_events(uint8_t status, MidiBytes& bytes, MidiTrackScan& scan) {
  const uint8_t message = status & 0xF0;
  const int64_t size = message == 0xC0 || message == 0xD0 ? 1 : 2;
  const uint32_t channel = 1u << (status & 0x0F);
  if (message <= 0x90) scan.note_channels |= channel;
  if (message == 0xC0) scan.program_channels |= channel;
  for (bool is_first = true;; is_first = false) {
    const uint8_t* begin = bytes.at;
    const bool has_delta = is_first || skip_delta(bytes);
    const bool has_data = has_delta && bytes.left() >= size && bytes.at[0] < 0x80 &&
                          bytes.at[size - 1] < 0x80;
    if (!has_data) {
      bytes.at = begin;
      return !is_first;
    }
    if (message == 0x90) scan.notes += bytes.at[1] > 0;
    if (message == 0xB0 && !is_plain_controller(bytes.at[0], bytes.at[1])) return false;
    bytes.at += size;
  }
}

// Reads the events of a track; false if it is not plain.
inline bool scan_track(MidiBytes bytes, MidiTrackScan& scan) {
  bool is_ended = false;
  while (bytes.at < bytes.end) {
    if (is_ended || !skip_delta(bytes) || bytes.at == bytes.end) return false;
    const uint8_t status = *bytes.at++;
    if (status < 0x80) return false;
    if (status < 0xF0) {
      if (!scan_channel_events(status, bytes, scan)) return false;
      continue;
    }
    if (status != 0xFF && status != 0xF0) return false;
    uint8_t type = 0;
    if (status == 0xFF) {
      if (bytes.at == bytes.end || (type = *bytes.at++) >= 0x80) return false;
    }
    if (bytes.at == bytes.end || *bytes.at >= 0x80) return false;
    const int64_t size = *bytes.at++;
    if (bytes.left() < size) return false;
    const uint8_t* data = bytes.at;
    bytes.at += size;
    // Only messages of General MIDI, and those that are too short to matter, are plain.
    if (status == 0xF0 && size > 6 && data[0] != 0x7E) return false;
    if (status == 0xFF && !is_plain_meta(type, data, size)) return false;
    is_ended = status == 0xFF && type == 0x2F;
  }
  return is_ended;
}

inline uint32_t big_endian(const uint8_t* data, int count) {
  uint32_t value = 0;
  for (int i = 0; i < count; ++i) value = value << 8 | data[i];
  return value;
}

inline bool is_alphanumeric(const uint8_t* data, int count) {
  for (int i = 0; i < count; ++i) {
    const uint8_t letter = data[i] | 0x20;
    const bool is_digit = data[i] >= '0' && data[i] <= '9';
    if (!is_digit && !(letter >= 'a' && letter <= 'z')) return false;
  }
  return true;
}

// Calls `visit` with a scan of every track; false if the file is not plain.
template <typename Visit>
inline bool scan_tracks(const uint8_t* content, int64_t size, Visit visit) {
  int64_t offset = 14, tracks = 0;
  while (offset + 8 <= size) {
    const uint8_t* chunk = content + offset;
    const int64_t end = offset + 8 + big_endian(chunk + 4, 4);
    if (end > size) return false;
    if (std::memcmp(chunk, "MTrk", 4) == 0) {
      MidiTrackScan scan;
      if (!scan_track({chunk + 8, content + end}, scan)) return false;
      visit(scan);
      ++tracks;
    } else if (!is_alphanumeric(chunk, 4)) {
      return false;
    }
    offset = end;
  }
  return offset == size && tracks == big_endian(content + 10, 2);
}

// Returns the number of notes of a plain file, or -1.
inline int64_t scan_midi(const uint8_t* content, int64_t size) {
  if (size < 14 || std::memcmp(content, "MThd", 4) != 0) return kNotPlain;
  const uint32_t format = big_endian(content + 8, 2), division = big_endian(content + 12, 2);
  if (big_endian(content + 4, 4) != 6 || !division || division & 0x8000 || format > 1)
    return kNotPlain;
  int64_t users[16] = {}, notes = 0;  // users: tracks with notes, by channel
  const bool is_plain = scan_tracks(content, size, [&](const MidiTrackScan& scan) {
    notes += scan.notes;
    for (int channel = 0; channel < 16; ++channel)
      users[channel] += scan.note_channels >> channel & 1;
  });
  if (!is_plain) return kNotPlain;
  // A program of one track may hold for another one.
  bool is_shared = false;
  scan_tracks(content, size, [&](const MidiTrackScan& scan) {
    for (int channel = 0; channel < 16; ++channel)
      if (scan.program_channels >> channel & 1)
        is_shared |= users[channel] > (scan.note_channels >> channel & 1);
  });
  return is_shared ? kNotPlain : notes;
}

}  // namespace rwkv_music
